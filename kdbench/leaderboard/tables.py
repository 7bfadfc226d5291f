"""Standings and records -> data frames, and these -> CSV and JSON. Shares between 0 and 1, epochs, seconds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

import pandas as pd

from kdbench.leaderboard.formats import NOTHING, epochs, fraction, half, percent, points, spread
from kdbench.leaderboard.scoring import Estimate, Milestone, RowKey, Run
from kdbench.leaderboard.standings import Row, Standings, entry_of
from kdbench.records import Record

DIGITS = 6


def leaderboard_table(standings: Standings) -> pd.DataFrame:
    """One line per row: shares between 0 and 1, epochs, seconds; the columns that the CSV and JSON have."""
    return pd.DataFrame([_row_cells(standings, row) for row in standings.rows])


def _row_cells(standings: Standings, row: Row) -> dict[str, Any]:
    covered = {(entry.teacher, entry.method): f"{entry.filled} of {entry.cells}" for entry in standings.coverage}
    cells: dict[str, Any] = {"board": standings.board.name, **row.key._asdict()}
    cells |= {"baseline": row.is_baseline, "seeds": row.accuracy.n}
    cells |= _estimate_cells("accuracy", row.accuracy)
    cells |= dict(row.stages)
    cells |= _estimate_cells("gain", row.gain)
    cells |= {"paired_seeds": row.gain.n if row.gain else 0, "unpaired_seeds": row.unpaired, "rank": row.rank}
    cells |= _estimate_cells("transfer", row.transfer)
    cells |= _estimate_cells("pretext", row.pretext) | {"pretext_majority": row.majority}
    cells |= {"teacher_gap_closed": row.gap_closed, "privileged_teacher": row.privileged}
    for name, milestones in (("epochs_to", row.milestones), ("epochs_to_baseline", row.to_baseline)):
        for goal, reached in milestones.items():
            cells[f"{name}_{goal}"] = None if reached is None else str(reached.median)
            cells[f"{name}_{goal}_reached"] = None if reached is None else f"{reached.reached} of {reached.n}"
    cells |= {"run_s": row.cost_s, "run_with_teacher_s": row.cost_with_teacher_s, "teacher_clips": row.teacher_clips}
    cells |= {"devices": ", ".join(row.devices)}
    cells |= {"cells_filled": covered.get(entry_of(row)), "runs": " ".join(run.record.run_id for run in row.runs)}
    return cells


def _estimate_cells(name: str, value: Estimate | None) -> dict[str, float | None]:
    return {name: value.mean if value else None, f"{name}_half_interval": value.half if value else None}


def summary_lines(standings: Standings) -> list[tuple[str, ...]]:
    """The leaderboard as lines of text, the first of them the head: per cent, points and epochs."""
    shares = list(standings.rows[0].to_baseline) if standings.rows else []
    head = ("student", "fraction", "teacher", "method", "n", "accuracy %", "gain", "rank")
    lines: list[tuple[str, ...]] = [(*head, *(f"epochs to {fraction(float(share))}" for share in shares))]
    for row in standings.rows:
        key, gain = row.key, row.gain
        words = f"{points(gain.mean)} {half(gain) or f'({spread(gain)})'}" if gain else NOTHING
        accuracy = f"{percent(row.accuracy.mean)} {half(row.accuracy)}".rstrip()
        place = (key.student, fraction(key.fraction), key.teacher, key.method, str(row.accuracy.n))
        lines.append(
            (*place, accuracy, words, row.rank or NOTHING, *(epochs(row.to_baseline[share]) for share in shares))
        )
    return lines


def curve_table(record: Record) -> pd.DataFrame:
    """One line per epoch of a run: accuracies as shares, mean loss terms, seconds."""
    lines = []
    for epoch in record.epochs:
        line: dict[str, Any] = {"epoch": epoch.epoch, "steps": epoch.steps, "samples": epoch.samples, "lr": epoch.lr}
        line |= {"test_top1": epoch.test_top1, "train_top1": epoch.train_top1, "pretext_top1": epoch.pretext_top1}
        line |= {f"loss_{term}": value for term, value in epoch.losses.items()}
        seconds = epoch.seconds
        line |= {"train_s": seconds.train, "data_wait_s": seconds.data_wait}
        line |= {"evaluate_s": seconds.evaluate, "checkpoint_s": seconds.checkpoint}
        lines.append(line)
    return pd.DataFrame(lines)


def milestone_table(standings: Standings) -> pd.DataFrame:
    """One line per ranked run and milestone: epochs, steps, samples and seconds to it, or ">N"."""
    lines = []
    for run in sorted(standings.runs.ranked, key=lambda run: run.record.run_id):
        facts = {"board": standings.board.name, "run_id": run.record.run_id, **run.key._asdict()}
        facts["seed"] = run.record.seed
        lines += [facts | asdict(reached) for reached in run.milestones()]
    columns = ["board", "run_id", *RowKey._fields, "seed", *(each.name for each in fields(Milestone))]
    return pd.DataFrame(lines, columns=columns)


def long_table(boards: Iterable[Standings]) -> pd.DataFrame:
    """All runs of all boards in long form: one line per run and epoch. Loss terms are columns."""
    frames = []
    for standings in boards:
        for run in sorted(standings.runs, key=lambda run: run.record.run_id):
            frame = curve_table(run.record)
            facts: dict[str, Any] = {"board": standings.board.name, "run_id": run.record.run_id}
            facts |= {"standing": standing(run), "status": run.record.status, **run.key._asdict()}
            facts |= {"seed": run.record.seed, "final_top1": run.record.derived.top1}
            for at, (name, value) in enumerate(facts.items()):
                frame.insert(at, name, value)
            frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"board": [], "run_id": [], "epoch": []})


def standing(run: Run) -> str:
    """ "ranked", "stale", "unranked" or "withdrawn"."""
    if run.record.submission.withdrawn:
        return "withdrawn"
    if run.stale:
        return "stale"
    return "unranked" if run.reason else "ranked"


def to_csv(table: pd.DataFrame) -> str:
    """A table as CSV with six significant digits and a plain newline after every line."""
    text: str = table.to_csv(index=False, lineterminator="\n", float_format=f"%.{DIGITS}g")
    return text


def to_json(table: pd.DataFrame) -> str:
    """A table as a JSON list of objects; what is not known is null."""
    lines = [{str(name): _plain(value) for name, value in line.items()} for line in table.to_dict(orient="records")]
    return json.dumps(lines, indent=1, ensure_ascii=False) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.{DIGITS}g}")
    return value.item() if hasattr(value, "item") else value
