"""Curves and milestones as files: each run's, and all runs' in long form. Without pandas: they are many."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kdbench.leaderboard.scoring import Run
from kdbench.leaderboard.standings import Standings
from kdbench.leaderboard.tables import standing
from kdbench.records import Epoch, Record

RUN = {
    "board": "Name of the board.",
    "run_id": "Name of the run, and of its files in the board's folder runs/.",
    "standing": "ranked, stale (made under other pins than the board has today) or unranked.",
    "student": "Network that was trained.",
    "teacher": "Network that taught it, or none.",
    "method": "How it was taught; options are named where two rows of a method differ in them.",
    "fraction": "Share of the training videos, between 0 and 1.",
    "subset_seed": "Which draw of that share; 0 unless the board draws several.",
    "seed": "Training seed.",
}
PROGRESS = {
    "epoch": "Epoch, counted from 1.",
    "test_top1": "1-view test accuracy after the epoch, as a share.",
    "train_top1": "Training accuracy over the epoch, as a share; empty where it was not measured.",
    "pretext_top1": "Accuracy of the pretext task over the epoch's clips, as a share; empty where there is none.",
}
EPOCH_COLUMNS = {
    "epoch": PROGRESS["epoch"],
    "steps": "Optimiser steps so far.",
    "samples": "Training clips so far.",
    "lr": "Learning rate.",
    "test_top1": PROGRESS["test_top1"],
    "train_top1": PROGRESS["train_top1"],
    "pretext_top1": PROGRESS["pretext_top1"],
    "train_s": "Seconds of the epoch's training steps.",
    "data_wait_s": "Seconds that the epoch waited for data.",
    "loss_*": "Mean of one weighted loss term over the epoch; one column for each term the run has.",
}
MILESTONE_COLUMNS = {
    "accuracy": "1-view test accuracy to be reached, as a share.",
    "of_baseline": "The share of the paired baseline run's last 1-view accuracy that this is; empty for a value of the "
    "board's own.",
    "epoch": "First epoch that reached it; >N when none of N did.",
    "steps": "Optimiser steps until then; >N when it was not reached.",
    "samples": "Training clips until then; >N when it was not reached.",
    "train_s": "Seconds of training and of waiting for data until then, the method's own phases included; >N when it "
    "was not reached.",
}
LONG_COLUMNS = {
    **RUN,
    **PROGRESS,
    "loss": "Sum of the epoch's mean weighted loss terms; the run's own file has them one by one.",
    "train_s": "Seconds of the epoch's training steps and of waiting for data.",
}
RUN_COLUMNS = {name: text for name, text in RUN.items() if name != "standing"}


def curve_csv(record: Record) -> str:
    """One line per epoch of a run: accuracies as shares, mean loss terms, seconds."""
    terms = sorted({term for epoch in record.epochs for term in epoch.losses})
    columns = [name for name in EPOCH_COLUMNS if not name.endswith("*")]
    lines = [_line((*columns, *(f"loss_{term}" for term in terms)))]
    for epoch in record.epochs:
        start = f"{epoch.epoch},{epoch.steps},{epoch.samples},{epoch.lr:.6g}"
        told = f"{_share(epoch.test_top1)},{_share(epoch.train_top1)},{_share(epoch.pretext_top1)}"
        spent = f"{epoch.seconds.train:.4g},{epoch.seconds.data_wait:.4g}"
        losses = "".join([f",{_loss(epoch.losses.get(term))}" for term in terms])
        lines.append(f"{start},{told},{spent}{losses}\n")
    return "".join(lines)


def long_csv(boards: Iterable[Standings]) -> str:
    """All runs of all boards, one line per run and epoch: where the run stands, its accuracies, loss and seconds."""
    lines = [_line(tuple(LONG_COLUMNS))]
    for standings in boards:
        for run in sorted(standings.runs, key=lambda run: run.record.run_id):
            place = _line([_plain(value) for value in _place(standings, run).values()]).removesuffix("\n")
            lines += [f"{place},{_progress(epoch)}\n" for epoch in run.record.epochs]
    return "".join(lines)


def milestones_csv(standings: Standings) -> str:
    """One line per ranked run and milestone: epochs, steps, samples and seconds to it, or ">N"."""
    lines = [_line((*RUN_COLUMNS, *MILESTONE_COLUMNS))]
    for place, reached in _milestones(standings):
        start = _line([_plain(value) for value in place.values()]).removesuffix("\n")
        lines += [f"{start},{','.join(str(_plain(value)) for value in each.values())}\n" for each in reached]
    return "".join(lines)


def milestones_json(standings: Standings) -> str:
    """One object per ranked run, one a line, with a list of its milestones; what is not known is null."""
    lines = []
    for place, reached in _milestones(standings):
        rounded = [{name: _rounded(value) for name, value in each.items()} for each in reached]
        lines.append(json.dumps({**place, "milestones": rounded}, ensure_ascii=False, separators=(",", ":")))
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _milestones(standings: Standings) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    for run in sorted(standings.runs.ranked, key=lambda run: run.record.run_id):
        place = {name: value for name, value in _place(standings, run).items() if name in RUN_COLUMNS}
        yield place, [{name: getattr(each, name) for name in MILESTONE_COLUMNS} for each in run.milestones()]


def _place(standings: Standings, run: Run) -> dict[str, Any]:
    key, record = run.key, run.record
    facts: dict[str, Any] = {"board": standings.board.name, "run_id": record.run_id, "standing": standing(run)}
    facts |= {"student": key.student, "teacher": key.teacher, "method": key.method, "fraction": key.fraction}
    return facts | {"subset_seed": key.subset_seed, "seed": record.seed}


def _progress(epoch: Epoch) -> str:
    loss, spent = sum(epoch.losses.values()), epoch.seconds.train + epoch.seconds.data_wait
    told = f"{_share(epoch.test_top1)},{_share(epoch.train_top1)},{_share(epoch.pretext_top1)}"
    return f"{epoch.epoch},{told},{_share(loss if epoch.losses else None)},{spent:.4g}"


def _share(value: float | None) -> str:
    """Five significant digits; nothing for what is not known or no number."""
    return "" if value is None or value != value else f"{value:.5g}"


def _loss(value: float | None) -> str:
    """Four significant digits; nothing for a term that the epoch did not have, or no number."""
    return "" if value is None or value != value else f"{value:.4g}"


def _rounded(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _plain(value: Any) -> Any:
    return f"{value:.5g}" if isinstance(value, float) else "" if value is None else value


def _line(cells: Sequence[Any]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()
