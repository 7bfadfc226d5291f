"""`kdbench data`: list data sets, fetch them, prepare their frame stores, verify and describe them, print subsets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_type_hints

import click

from kdbench.board import DEFAULT_BOARD, Board, Frames, load_board
from kdbench.cli.arguments import PLUGIN_OPTION

if TYPE_CHECKING:
    from kdbench.api import VideoDataset
    from kdbench.data.decode import Geometry
    from kdbench.data.prepare import Report
    from kdbench.data.store import Progress
    from kdbench.data.verify import Verification

_LINES_A_GROUP = 20


@dataclass(frozen=True)
class Choice:
    """What the options of a command name: a data set and frames, as a board or the user wants them."""

    name: str
    videos: Path | None
    board: str
    options: tuple[tuple[str, str], ...]
    plugins: tuple[Path, ...]
    codec: Literal["yuv420p", "jpeg95"] | None = None

    def open(self) -> tuple[list[VideoDataset], Geometry]:
        """The data set, once for each set of options under which the board uses it, and the board's frames."""
        from kdbench.data.decode import Geometry
        from kdbench.data.places import videos_root
        from kdbench.errors import DataError
        from kdbench.registry import load_registry

        if self.videos is not None and self.videos.is_file():
            raise DataError(self.videos, "is a file; name a folder (`kdbench data prepare` takes archives too)")
        board = load_board(self.board)
        registered = load_registry(self.plugins).get("datasets", self.name)
        root = self.videos or videos_root(self.name)
        variants = [{**options, **dict(self.options)} for options in _options_on(board, self.name)]
        distinct = [options for at, options in enumerate(variants) if options not in variants[:at]]
        frames = board.frames
        geometry = Geometry(frames.height, frames.width, frames.filter, self.codec or frames.codec)
        return [registered.make(options, root) for options in distinct], geometry

    def unpacked(self) -> Choice:
        """The same choice with a folder of videos: an archive given as such is unpacked under the kdbench home."""
        from kdbench.data.archives import unpack
        from kdbench.data.places import videos_root

        if self.videos is None or not self.videos.is_file():
            return self
        target = videos_root(self.name)
        with _progress_bar(f"unpacking {self.videos.name}") as progress:
            unpack(self.videos, target, progress)
        _say(f"{self.videos} is unpacked in {target}")
        return replace(self, videos=target)


def _options_on(board: Board, name: str) -> list[dict[str, Any]]:
    """The options of a data set in the board's [data] and [transfer]; none where the board does not use it."""
    uses = [use.options for use in (board.data, board.transfer) if use and use.dataset == name]
    return uses or [{}]


def _key_and_value(_context: click.Context, _option: click.Parameter, pairs: tuple[str, ...]) -> Any:
    from kdbench.cli.arguments import key_values

    return tuple(key_values(pairs).items())


def _choosing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument and the options that name a data set; it gets them as one Choice."""

    @wraps(command)
    def with_choice(**given: Any) -> Any:
        keys = ("name", "videos", "board", "options", "plugins", "codec")
        return command(Choice(**{key: given.pop(key) for key in keys if key in given}), **given)

    for decorate in (
        click.option("--json", "as_json", is_flag=True, help="Print everything as JSON."),
        PLUGIN_OPTION,
        click.option(
            "-o",
            "--option",
            "options",
            multiple=True,
            metavar="KEY=VALUE",
            callback=_key_and_value,
            help="Option of the data set.",
        ),
        click.option(
            "--board",
            default=DEFAULT_BOARD,
            show_default=True,
            help="Board whose frames and options to use: a name, or the path of a board.toml.",
        ),
        click.option("--videos", type=click.Path(path_type=Path), help="Folder of the video files."),
        click.argument("name"),
    ):
        with_choice = decorate(with_choice)
    return with_choice


_which_codec = click.option(
    "--codec",
    type=click.Choice(get_args(get_type_hints(Frames)["codec"])),
    help="How the frames are stored: as they are, or as JPEGs that take a third of the room.  [default: the board's]",
)


@click.group()
def data() -> None:
    """Fetch, prepare and check the videos of a data set."""


@data.command("list")
@PLUGIN_OPTION
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def list_(plugins: tuple[Path, ...], as_json: bool) -> None:
    """List the data sets that plugins offer."""
    from kdbench.registry import load_registry

    registry = load_registry(plugins)
    rows = [registry.get("datasets", name) for name in registry.names("datasets")]
    if as_json:
        _print_json([{"name": row.name, "summary": row.summary, "embedded": row.cls.embedded} for row in rows])
        return
    for row in rows:
        click.echo(f"{row.name:20} {'drawn here' if row.cls.embedded else 'to fetch':12} {row.summary}")


@data.command(short_help="Download a data set and unpack its videos.")
@_choosing
def fetch(choice: Choice, as_json: bool) -> None:
    """Download a data set's files and unpack its videos, or draw them where the data set can do that.

    A download that was interrupted goes on where it broke off. The archives stay in the kdbench home, under
    downloads/; delete them when the frame store is prepared. --videos is the folder to unpack into.
    """
    datasets, _ = choice.open()
    dataset = datasets[0]
    archives = [] if dataset.embedded else _fetched(dataset)
    for drawn in datasets if dataset.embedded else []:
        drawn.provide(_say)
    if as_json:
        _print_json({"videos": dataset.root, "downloads": archives})
        return
    click.echo(f"{dataset.name}: the videos are in {dataset.root}; now run: {_prepare_command(choice)}")


def _fetched(dataset: VideoDataset) -> list[Path]:
    """Fetch and unpack a data set's downloads. Raises DataError, with the way by hand, where it names none."""
    from kdbench.data.archives import is_archive, unpack
    from kdbench.data.fetch import fetch as fetch_file
    from kdbench.data.places import downloads_root
    from kdbench.errors import DataError

    if not dataset.downloads:
        raise DataError(dataset.name, f"names nothing to download; {dataset.how_to_get or 'see its documentation'}")
    paths = []
    for download in dataset.downloads:
        with _progress_bar(f"fetching {download.filename}", in_bytes=True) as progress:
            paths.append(fetch_file(download, downloads_root(dataset.name), progress, _say))
        if is_archive(paths[-1]):
            with _progress_bar(f"unpacking {download.filename}") as progress:
                unpack(paths[-1], dataset.root, progress)
    return paths


def _prepare_command(choice: Choice) -> str:
    words = ["kdbench data prepare", choice.name]
    words += [f"--board {choice.board}"] if choice.board != DEFAULT_BOARD else []
    return " ".join([*words, *([f"--videos {choice.videos}"] if choice.videos else [])])


@data.command(short_help="Print the training videos that a fraction keeps.")
@_choosing
@click.option("--fraction", required=True, type=click.FloatRange(0, 1, min_open=True), help="Share of the videos.")
@click.option("--split", "number", type=int, help="The official split.  [default: the board's]")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The seed of the choice.")
def subset(choice: Choice, fraction: float, number: int | None, seed: int, as_json: bool) -> None:
    """Print the training videos that a fraction of a data set keeps, one id a line, sorted.

    The digest goes to stderr; it is the SHA-256 of what is printed, so `| sha256sum` shows it too.
    """
    from kdbench.data.subsets import list_digest
    from kdbench.data.subsets import subset as subset_of

    board = load_board(choice.board)
    dataset = choice.open()[0][0]
    uses = [use.split for use in (board.data, board.transfer) if use and use.dataset == choice.name]
    number = number if number is not None else (uses or [1])[0]
    ids = subset_of(dataset.videos, dataset.split(number).train, fraction, seed)
    digest = list_digest(ids)
    if as_json:
        what = {"dataset": dataset.name, "split": number, "fraction": fraction, "seed": seed}
        _print_json({**what, "count": len(ids), "sha256": digest, "videos": ids})
        return
    for video in ids:
        click.echo(video)
    click.echo(f"{len(ids)} videos of {dataset.name}, split {number}, seed {seed}; SHA-256 {digest}", err=True)


@data.command(short_help="Decode every video once, into the frame store.")
@_choosing
@_which_codec
@click.option("--workers", type=click.IntRange(min=1), help="Processes that decode.  [default: one a core]")
def prepare(choice: Choice, workers: int | None, as_json: bool) -> None:
    """Decode every video of a data set once, into the frame store that runs read.

    What is prepared already is left alone, so the same command continues after an interruption and picks up
    videos that were missing or broken. Ends with exit code 1 while any video is missing or broken. --videos
    may also be the archive that a data set is distributed as (zip, tar, rar): it is unpacked first.
    """
    from kdbench.data.decode import cores
    from kdbench.data.prepare import prepare as prepare_store

    datasets, geometry = choice.unpacked().open()
    reports = []
    for dataset in datasets:
        if dataset.embedded:
            dataset.provide(_say)
        with _progress_bar(f"preparing {dataset.name}") as progress:
            reports.append(prepare_store(dataset, geometry, workers or cores(), progress))
    if as_json:
        _print_json([asdict(report) for report in reports])
    else:
        for dataset, report in zip(datasets, reports, strict=True):
            _print_report(dataset, report)
        if choice.codec and choice.codec != (pin := load_board(choice.board).frames.codec):
            click.echo(f"runs of {choice.board} read frames of codec {pin}; only its board.toml can change that")
    _exit_with(any(report.missing or report.broken for report in reports))


@data.command(short_help="Check stored frames and video files by digest.")
@_choosing
@_which_codec
def verify(choice: Choice, as_json: bool) -> None:
    """Hash the stored frames and the video files again, and name whatever is missing, broken or changed."""
    from kdbench.data.verify import verify as verify_store

    datasets, geometry = choice.open()
    verifications = []
    for dataset in datasets:
        with _progress_bar(f"verifying {dataset.name}") as progress:
            verifications.append(verify_store(dataset, geometry, progress))
    if as_json:
        _print_json([{**asdict(verification), "ok": verification.ok} for verification in verifications])
    else:
        for dataset, verification in zip(datasets, verifications, strict=True):
            _print_verification(dataset, verification)
    _exit_with(not all(verification.ok for verification in verifications))


@data.command(short_help="Describe a data set and what is here of it.")
@_choosing
@_which_codec
def info(choice: Choice, as_json: bool) -> None:
    """Describe a data set: classes, videos, splits, where its files belong, and what is prepared."""
    from kdbench.data.store import describe

    datasets, geometry = choice.open()
    described = [describe(dataset, geometry) for dataset in datasets]
    if as_json:
        _print_json(described)
        return
    for description in described:
        for key, value in description.items():
            click.echo(f"{key.replace('_', ' '):16} {_in_words(value)}")


# --- printing ----------------------------------------------------------------------------------------------


def _print_report(dataset: VideoDataset, report: Report) -> None:
    size = f"{report.bytes / 1e9:.2f} GB in {report.path}"
    click.echo(
        f"{dataset.name}: {report.done + report.reused} of {len(dataset.videos)} videos are prepared "
        f"({report.done} now, in {report.seconds:.1f} s), {size}"
    )
    _print_group("missing", [f"{video}: expected at {path}" for video, path in report.missing])
    _print_group("broken", [f"{path}: {reason}" for path, reason in report.broken])
    if len(report.missing) == len(dataset.videos) and dataset.how_to_get:
        click.echo(dataset.how_to_get)


def _print_verification(dataset: VideoDataset, found: Verification) -> None:
    click.echo(f"{dataset.name}: {found.sound} of {len(dataset.videos)} videos are sound, in {found.path}")
    _print_group("missing", [f"{video}: expected at {path}" for video, path in found.missing])
    for title in ("broken", "changed", "damaged"):
        _print_group(title, [f"{place}: {reason}" for place, reason in getattr(found, title)])
    _print_group("not prepared yet", found.unprepared)
    _print_group("of no video of this data set (left alone)", found.extra)
    if found.gone:
        click.echo(f"{len(found.gone)} prepared videos have no file any more; runs do not need them")


def _print_group(title: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    click.echo(f"{title}: {len(lines)}")
    for line in lines[:_LINES_A_GROUP]:
        click.echo(f"  {line}")
    if len(lines) > _LINES_A_GROUP:
        click.echo(f"  ... and {len(lines) - _LINES_A_GROUP} more; --json lists all")


def _print_json(content: Any) -> None:
    click.echo(json.dumps(content, indent=1, default=str))


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {inner}" for key, inner in value.items()) or "none"
    return "none" if value is None else str(value)


def _exit_with(trouble: bool) -> None:
    if trouble:
        click.get_current_context().exit(1)


def _say(line: str) -> None:
    click.echo(line, err=True)


@contextmanager
def _progress_bar(title: str, in_bytes: bool = False) -> Iterator[Progress]:
    """A bar with the time left, on stderr so that output can be piped; silent where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    count = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    console = Console(stderr=True)
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total, _: bar.update(task, completed=done, total=total or None)
