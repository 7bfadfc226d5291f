"""What the page of one run shows: curve, stages, classes, teacher, cost, environment, command."""

from __future__ import annotations

import html
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

from markupsafe import Markup

from kdbench.leaderboard import formats
from kdbench.leaderboard.charts import Panel, Series, epoch_axis, line_chart, plain_axis, share_axis, swatch, thinned
from kdbench.leaderboard.pagenames import method_name, plugin_name, teacher_name
from kdbench.leaderboard.pluginpage import KINDS, plugins_in
from kdbench.leaderboard.protocolpage import value_text
from kdbench.leaderboard.scoring import Run, device_class
from kdbench.leaderboard.standings import Standings
from kdbench.leaderboard.tables import standing
from kdbench.records import Epoch, PhaseEpoch, Record, unpack_ids

SHOWN_EPOCHS = 8
CHART_WIDTH = 380
Counted = TypeVar("Counted", Epoch, PhaseEpoch)
STATES = {
    "self-reported": "self-reported",
    "reproduced": "reproduced by someone else",
    "maintainers": "reproduced by the maintainers",
    "disputed": "disputed",
    "withdrawn": "withdrawn",
    "reinstated": "put back",
}


@dataclass(frozen=True)
class ClassScore:
    """One class: videos of the test list, how many were right, and what the others were taken for most often."""

    name: str
    videos: int
    right: int
    mistaken_for: str


def run_context(standings: Standings, run: Run) -> dict[str, Any]:
    """The names that the run template uses. What a page has many of is made here: a template is slow at it."""
    record = run.record
    terms = sorted({term for epoch in record.epochs for term in epoch.losses})
    shown = shown_epochs(record.epochs, {mark.epoch for mark in record.stages})
    return {
        "board": standings.board,
        "run": run,
        "record": record,
        "standing": standing(run),
        "lost_teachers": standings.lost_teachers([run]),
        "title": title_of(run),
        "accuracy_chart": accuracy_chart(run),
        "loss_chart": loss_chart(record, terms),
        "loss_legend": [(swatch(at + 1, markers=False), term) for at, term in enumerate(terms)],
        "terms": terms,
        "curve": curve_rows(shown, terms),
        "every": len(shown) < len(record.epochs),
        "phases": phases_of(record),
        "classes": class_rows(class_scores(record)),
        "milestones": run.milestones(),
        "settings": described(settings(run)),
        "teacher": described(teacher_facts(record)),
        "given": standings.given & {each.run_id for each in (record, run.baseline) if each},
        "costs": described(costs(record)),
        "environment": described(environment(record)),
        "device": device_class(record),
        "said": described(said_of(record)),
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
    series = [Series("this run", _curve(record), 1, markers=False)]
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


def shown_epochs(epochs: Sequence[Counted], ends: Collection[int] = ()) -> list[Counted]:
    """About eight epochs, evenly spaced, and the ends of the stages; the CSV has them all."""
    every = math.ceil(len(epochs) / SHOWN_EPOCHS)
    kept = {1, len(epochs), *ends}
    return [epoch for epoch in epochs if epoch.epoch % every == 0 or epoch.epoch in kept]


def curve_rows(shown: Sequence[Epoch], terms: Sequence[str]) -> Markup:
    """The lines of the curve's table: test and training accuracy, loss terms."""
    lines = []
    for epoch in shown:
        told = [str(epoch.epoch), formats.percent(epoch.test_top1), formats.percent(epoch.train_top1)]
        lines.append("<tr><td>" + "<td>".join(told + _losses(epoch, terms)))
    return Markup("".join(lines))  # noqa: S704 - numbers only


def phases_of(record: Record) -> list[tuple[str, list[str], Markup]]:
    """Each phase of the method's own, in order: its name, its loss terms, and lines of epoch, rate and terms."""
    phases = []
    for name, group in groupby(record.phases, key=lambda row: row.phase):
        rows = list(group)
        terms = sorted({term for row in rows for term in row.losses})
        lines = [[str(row.epoch), formats.number(row.lr), *_losses(row, terms)] for row in shown_epochs(rows)]
        body = "".join("<tr><td>" + "<td>".join(line) + "\n" for line in lines)
        phases.append((name, terms, Markup(body)))  # noqa: S704 - numbers only
    return phases


def _losses(epoch: Epoch | PhaseEpoch, terms: Sequence[str]) -> list[str]:
    """Three digits: the CSV has them all."""
    values = [f"{epoch.losses[term]:.3g}" if term in epoch.losses else formats.NOTHING for term in terms]
    return [value.replace("-", formats.MINUS) for value in values]


def class_rows(scores: Iterable[ClassScore]) -> Markup:
    """The lines of the table of classes."""
    lines = []
    for each in scores:
        share = formats.percent(each.right / each.videos) if each.videos else formats.NOTHING
        name, taken = _text(each.name), _text(each.mistaken_for)
        counts = f"{each.right} of {each.videos}<td>{share}"
        lines.append(f'<tr><th scope="row">{name}<td>{counts}<td>{taken}')
    return Markup("".join(lines))  # noqa: S704 - the names are escaped above


def described(facts: Iterable[tuple[str, Any]]) -> Markup:
    """Terms with their descriptions; text is escaped, markup kept. HTML lets the end tags be left out."""
    lines = [f"<dt>{_text(label)}<dd>{value if isinstance(value, Markup) else _text(value)}" for label, value in facts]
    return Markup("".join(lines))  # noqa: S704 - both are escaped above


def class_scores(record: Record) -> list[ClassScore]:
    """Accuracy for each class, recomputed from the predictions of the last epoch."""
    guesses, labels = unpack_ids(record.predictions.packed), unpack_ids(record.predictions.labels)
    given: dict[int, dict[int, int]] = {number: {} for number in range(len(record.classes))}
    for (label, guess), count in Counter(zip(labels, guesses, strict=True)).items():
        given[label][guess] = count
    scores = []
    for number, name in enumerate(record.classes):
        videos, right = sum(given[number].values()), given[number].pop(number, 0)
        # Of equal counts the smaller class id is named, whatever the order of the videos.
        worst = min(given[number], key=lambda guess: (-given[number][guess], guess), default=None)
        taken = f"{record.classes[worst]} ({given[number][worst]})" if worst is not None else ""
        scores.append(ClassScore(name, videos, right, taken))
    return scores


def settings(run: Run) -> Iterator[tuple[str, Any]]:
    """What was trained, on which videos, under which pins. A method and a plugin of any run have their pages."""
    record, cell = run.record, run.record.cell
    counts = f"{cell.num_training_videos} for training (subset seed {cell.subset_seed}), {cell.num_test_videos}"
    yield "Videos", f"{cell.dataset}, split {cell.split}: {counts} for testing"
    yield "Lists, sha256", f"training {cell.training_list_sha256[:12]}…, test {cell.test_list_sha256[:12]}…"
    if record.missing_videos:
        yield "Missing videos", record.missing_videos
    yield "Metric", cell.metric
    student, method = record.student, record.method
    size = f"{student.params:,} parameters, {formats.number(student.gmacs)} GMACs a clip"
    yield "Student", f"{run.key.student}, {size}"
    yield "Method", _link(f"../{method_name(run.key.method)}", run.key.method)
    if method.options:
        yield "Options", ", ".join(f"{name} = {method.options[name]}" for name in sorted(method.options))
    yield "Plugins", Markup("; ").join(plugins_of(record))
    pins = Markup('those of <a href="../protocol.html">the board</a>')
    yield "Pins", f"differ in {', '.join(run.stale)}" if run.stale else pins
    if record.tuning:
        yield "Tuning", record.tuning


def plugins_of(record: Record) -> Iterator[Markup]:
    """The plugins of a record by the distribution they are from, each with its page."""
    found = defaultdict[tuple[str, str], list[Markup]](list)
    for kind, plugin in plugins_in(record):
        link = _link(f"../../{plugin_name(kind, plugin.name)}", plugin.name)
        found[plugin.distribution, plugin.version].append(Markup("{} {}").format(KINDS[kind].lower(), link))
    for (distribution, version), links in found.items():
        yield Markup("{} of {} {}").format(Markup(", ").join(links), distribution, version)


def teacher_facts(record: Record) -> Iterator[tuple[str, str]]:
    """What the teacher is, what it has seen, and whether that is more than the student saw."""
    teacher = record.teacher
    if teacher is None:
        return
    seen = "not declared" if teacher.dataset is None else f"{teacher.dataset}, split {teacher.split}"
    if teacher.fraction is not None:
        seen += f", {formats.fraction(teacher.fraction)} of its training videos"
    yield "Teacher", _link(f"../{teacher_name(teacher.spec)}", teacher.spec)
    yield "Backbone", teacher.backbone
    yield "Has seen", seen
    same = teacher.training_list_sha256 == record.cell.training_list_sha256
    yield "Training list", "the student's own" if same else _digest(teacher.training_list_sha256)
    more = {True: "yes: a larger share than its student", False: "no", None: "not known"}
    yield "Saw more", more[teacher.privileged]
    yield "Checked", "yes: its list against the test list" if teacher.trusted else "no"
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
    method = record.method
    for label, count in (
        ("Method's own parameters", method.extra_params),
        ("Method's own epochs", method.phase_epochs),
        ("Clips shown to the teacher and others in a step", method.teacher_clips_per_step),
    ):
        if count:
            yield label, f"{count:,}"
    yield "Peak memory", f"{cost.peak_memory_mib:.0f} MiB"
    if cost.resumes:
        yield "Resumed", formats.counted(cost.resumes, "time")


def said_of(record: Record) -> Iterator[tuple[str, Any]]:
    """What people said of a record: who reran it and who sent it. Only http and https are linked."""
    given = record.submission
    checked = given.verification
    yield "Verification", _event(STATES[checked.state], checked.by, checked.date, checked.note)
    for event in given.earlier:
        yield "Earlier", _event(STATES[event.what], event.by, event.date, event.note)
    if given.author:
        yield "Submitted by", _event(given.author, None, given.date, None)
    if given.link and given.link.startswith(("https://", "http://")):
        yield "Source", Markup('<a href="{0}" rel="nofollow">{0}</a>').format(given.link)
    elif given.link:
        yield "Source", given.link
    if given.licence:
        yield "Licence", given.licence


def _event(what: str, by: str | None, date: str | None, note: str | None) -> str:
    return what + (f" by {by}" if by else "") + (f", {date}" if date else "") + (f": {note}" if note else "")


def _code(record: Record) -> str:
    code = record.code
    commit = f", commit {code.commit[:12]}" if code.commit else ""
    return f"{code.version}{commit}{', with uncommitted changes' if code.dirty else ''}"


def environment(record: Record) -> Iterator[tuple[str, str]]:
    """What the run was made on and with, in order of the keys; a group, such as the packages, is one text.

    A device of which `device_class` tells all stands with the costs.
    """
    for key, value in sorted(record.environment.items()):
        if key == "device" and isinstance(value, dict) and value.keys() <= {"count", "name", "type"}:
            continue
        told = [f"{name} {text}" for name, text in _flat(value)] if isinstance(value, dict) else [_word(value)]
        yield key, ", ".join(told)
    yield "kdbench", _code(record)


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key in sorted(tree):
        if isinstance(tree[key], dict):
            yield from _flat(tree[key], f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _word(tree[key])


def _word(value: Any) -> str:
    return value_text(value) or "none"


def _link(address: str, text: str) -> Markup:
    return Markup('<a href="{}">{}</a>').format(address, text)


def _text(value: Any) -> str:
    """Text between tags, where quotes may stand as they are; a page has too many for `markupsafe.escape`."""
    return html.escape(str(value), quote=False)


def _curve(record: Record) -> tuple[tuple[float, float], ...]:
    return tuple((float(epoch.epoch), epoch.test_top1) for epoch in record.epochs)


def _digest(digest: str | None) -> str:
    return "not declared" if digest is None else f"sha256 {digest[:12]}…"
