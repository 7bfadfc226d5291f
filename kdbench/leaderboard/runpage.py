"""What the page of one run shows: curve, stages, classes, teacher, cost, environment, command."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from kdbench.leaderboard import formats
from kdbench.leaderboard.charts import Panel, Series, epoch_axis, line_chart, plain_axis, share_axis, swatch, thinned
from kdbench.leaderboard.protocolpage import value_text
from kdbench.leaderboard.scoring import Run, device_class
from kdbench.leaderboard.standings import Standings
from kdbench.leaderboard.tables import standing
from kdbench.records import Epoch, Record, unpack_ids

SHOWN_EPOCHS = 25
CHART_WIDTH = 380


@dataclass(frozen=True)
class ClassScore:
    """One class: videos of the test list, how many were right, and what the others were taken for most often."""

    name: str
    videos: int
    right: int
    mistaken_for: str


def run_context(standings: Standings, run: Run) -> dict[str, Any]:
    """The names that the run template uses."""
    record = run.record
    terms = sorted({term for epoch in record.epochs for term in epoch.losses})
    shown = shown_epochs(record)
    return {
        "board": standings.board,
        "run": run,
        "record": record,
        "standing": standing(run),
        "title": title_of(run),
        "accuracy_chart": accuracy_chart(run),
        "loss_chart": loss_chart(record, terms),
        "loss_legend": [(swatch(at + 1, markers=False), term) for at, term in enumerate(terms)],
        "terms": terms,
        "shown": shown,
        "every": len(shown) < len(record.epochs),
        "classes": class_scores(record),
        "teacher_facts": list(teacher_facts(record)),
        "costs": list(costs(record)),
        "milestones": run.milestones(),
        "environment": list(flat(record.environment)),
        "device": device_class(record),
    }


def title_of(run: Run) -> str:
    """ "slim with soft, taught by broad"."""
    key = run.key
    if run.record.teacher is None:
        return f"{key.student}, {key.method}, no teacher"
    return f"{key.student} with {key.method}, taught by {key.teacher}"


def accuracy_chart(run: Run) -> Markup:
    """1-view test accuracy by epoch, with the paired baseline's and the ends of the stages."""
    record = run.record
    series = [Series(title_of(run), _curve(record), 1, markers=False)]
    if run.baseline and not run.is_baseline:
        series.insert(0, Series("paired baseline", _curve(run.baseline), 0, markers=False))
    y = share_axis([y for each in series for _, y in each.points], "accuracy, %")
    marks = tuple((float(mark.epoch), mark.stage) for mark in record.stages)
    title = f"1-view test accuracy over {len(record.epochs)} epochs"
    return line_chart(Panel(title, tuple(series), epoch_axis(len(record.epochs)), y, marks, width=CHART_WIDTH))


def loss_chart(record: Record, terms: Sequence[str]) -> Markup:
    """Each loss term by epoch, as its mean over the epoch."""
    lines = []
    for at, term in enumerate(terms):
        values = [(float(epoch.epoch), epoch.losses[term]) for epoch in record.epochs if term in epoch.losses]
        lines.append(Series(term, thinned([spot for spot in values if math.isfinite(spot[1])]), at + 1, markers=False))
    y = plain_axis([max(0.0, value) for line in lines for _, value in line.points], "mean loss term, weighted")
    return line_chart(Panel("Loss terms by epoch", tuple(lines), epoch_axis(len(record.epochs)), y, width=CHART_WIDTH))


def shown_epochs(record: Record) -> list[Epoch]:
    """About twenty-five epochs, evenly spaced, and the ends of the stages; the CSV has them all."""
    every = math.ceil(len(record.epochs) / SHOWN_EPOCHS)
    ends = {mark.epoch for mark in record.stages} | {1, len(record.epochs)}
    return [epoch for epoch in record.epochs if epoch.epoch % every == 0 or epoch.epoch in ends]


def class_scores(record: Record) -> list[ClassScore]:
    """Accuracy for each class, recomputed from the predictions of the last epoch."""
    guesses, labels = unpack_ids(record.predictions.packed), unpack_ids(record.predictions.labels)
    scores = []
    for number, name in enumerate(record.classes):
        given = Counter(guess for guess, label in zip(guesses, labels, strict=True) if label == number)
        right = given.pop(number, 0)
        # Of equal counts the smaller class id is named, whatever the order of the videos.
        worst = min(given, key=lambda guess: (-given[guess], guess), default=None)
        taken = f"{record.classes[worst]} ({given[worst]})" if worst is not None else ""
        scores.append(ClassScore(name, right + given.total(), right, taken))
    return scores


def teacher_facts(record: Record) -> Iterator[tuple[str, str]]:
    """What the teacher is, what it has seen, and whether that is more than the student saw."""
    teacher = record.teacher
    if teacher is None:
        return
    seen = "not declared" if teacher.dataset is None else f"{teacher.dataset}, split {teacher.split}"
    if teacher.fraction is not None:
        seen += f", {formats.fraction(teacher.fraction)} of its training videos"
    yield "Teacher", teacher.spec
    yield "Backbone", teacher.backbone
    yield "Has seen", seen
    same = teacher.training_list_sha256 == record.cell.training_list_sha256
    yield "Training list", "the student's own" if same else _digest(teacher.training_list_sha256)
    more = {True: "yes: it saw a larger share than the student", False: "no", None: "not known"}
    yield "Privileged", more[teacher.privileged]
    yield "Trusted", "yes: its training list was compared with the test list" if teacher.trusted else "no"
    yield "Accuracy", f"{formats.percent(teacher.top1)} %" if teacher.top1 is not None else "not measured"
    yield "Training", f"{teacher.epochs or 'unknown number of'} epochs, {formats.seconds(teacher.train_s)}"
    yield "Weights", _digest(teacher.weights_sha256)


def costs(record: Record) -> Iterator[tuple[str, str]]:
    """Where the seconds went; the parts add up to the whole."""
    cost = record.cost
    for label, value in (
        ("Training steps", cost.train_s),
        ("Waiting for data", cost.data_wait_s),
        ("Evaluation", cost.evaluate_s),
        ("Checkpoints", cost.checkpoint_s),
        *([("Method's own phases", cost.phases_s)] if cost.phases_s else []),
        ("Transfer", cost.transfer_s),
        ("Other", cost.other_s),
        ("Whole run", cost.wall_s),
    ):
        yield label, formats.seconds(value)
    if record.teacher:
        lesson = record.teacher.train_s
        yield "Teacher's training", formats.seconds(lesson)
        yield "Run and teacher", formats.seconds(None if lesson is None else cost.wall_s + lesson)
    yield "Peak memory", f"{cost.peak_memory_mib:.0f} MiB"
    yield "Resumed", f"{cost.resumes} times"


def flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """A nested dictionary as dotted keys and texts, in order of the keys."""
    for key in sorted(tree):
        if isinstance(tree[key], dict):
            yield from flat(tree[key], f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value_text(tree[key])


def _curve(record: Record) -> tuple[tuple[float, float], ...]:
    return tuple((float(epoch.epoch), epoch.test_top1) for epoch in record.epochs)


def _digest(digest: str | None) -> str:
    return "not declared" if digest is None else f"sha256 {digest[:12]}…"
