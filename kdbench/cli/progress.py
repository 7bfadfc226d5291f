"""What a person sees of a long job: a bar with the time left, and a line for each epoch. On stderr."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from kdbench.records import Epoch


class TerminalWatcher:
    """Tells of a long job on stderr: bars on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("time left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.task: TaskID | None = None

    def __enter__(self) -> TerminalWatcher:
        self.bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def say(self, text: str) -> None:
        """One line of news."""
        self.console.print(text, markup=False, soft_wrap=True)

    def stage(self, title: str, total: int) -> Callable[[int], None]:
        """Replace the bar by one for a job of `total` parts."""
        if self.task is not None:
            self.bars.remove_task(self.task)
        task = self.task = self.bars.add_task(title, total=total)

        def tick(done: int) -> None:
            self.bars.update(task, completed=done)

        return tick

    def epoch(self, row: Epoch, total: int) -> None:
        """One line for a finished epoch: test accuracy, training accuracy, loss terms, seconds."""
        terms = "  ".join(f"{name} {value:.3f}" for name, value in row.losses.items())
        seconds = row.seconds.train + row.seconds.data_wait + row.seconds.evaluate
        trained = "" if row.train_top1 is None else f"  train {row.train_top1:6.1%}"
        self.say(f"epoch {row.epoch:3d}/{total}  test {row.test_top1:6.1%}{trained}  {terms}  {seconds:.1f} s")
