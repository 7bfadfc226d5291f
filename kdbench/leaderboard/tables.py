"""Standings and records -> data frames, and these -> CSV and JSON. Shares between 0 and 1, epochs, seconds."""

from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd

from kdbench.leaderboard.formats import NOTHING, epochs, fraction, half, percent, points, spread
from kdbench.leaderboard.scoring import Estimate, Run
from kdbench.leaderboard.standings import Row, Standings, entry_of

DIGITS = 6
INTERVAL = "Half the width of its 95 % interval over seeds; empty for a single run and for runs that are all equal."
COLUMNS = {
    "board": "Name of the board.",
    "dataset": "Data set the student was trained on.",
    "split": "Number of its official split.",
    "fraction": "Share of the training videos, between 0 and 1.",
    "subset_seed": "Which draw of that share; 0 unless the board draws several.",
    "student": "Network that was trained.",
    "teacher": "Network that taught it, or none.",
    "method": "How it was taught; options are named where two rows of a method differ in them.",
    "baseline": "Whether gains are measured against this row.",
    "seeds": "Number of ranked runs, one for each training seed.",
    "accuracy": "Video-level top-1 of the last epoch as a share, mean over seeds.",
    "accuracy_half_interval": INTERVAL,
    "early": "Accuracy at the end of the early stage, mean over seeds.",
    "middle": "Accuracy at the end of the middle stage, mean over seeds.",
    "late": "Accuracy at the end of the late stage, mean over seeds: the same as accuracy.",
    "gain": "Accuracy minus that of the paired baseline run, mean over seeds, as a difference of shares.",
    "gain_half_interval": INTERVAL,
    "paired_seeds": "Seeds that have a baseline run.",
    "unpaired_seeds": "Seeds that have none, and are left out of the gain.",
    "rank": "Place by gain within the cell; 1-3 where rows cannot be told apart.",
    "transfer": "Accuracy after fine-tuning on the second data set, as a share, mean over seeds.",
    "transfer_half_interval": INTERVAL,
    "pretext": "Accuracy of the pretext task on the test videos, as a share, mean over seeds.",
    "pretext_half_interval": INTERVAL,
    "pretext_majority": "What always naming the most frequent transform would reach.",
    "teacher_gap_closed": "Gain over the distance from the baseline to its teacher, where that is the better one.",
    "privileged_teacher": "Whether the teacher saw a larger share of the training videos than the student.",
    "epochs_to_baseline_*": "Median epochs to that share of the paired baseline's last 1-view accuracy; >N when none "
    "of N reached it.",
    "epochs_to_*": "Median epochs to that 1-view accuracy; >N when none of N reached it.",
    "epochs_to_*_reached": "How many of the runs got there.",
    "run_s": "Mean seconds of one run; empty where the runs are of several classes of device.",
    "run_with_teacher_s": "The same with the training of its teacher.",
    "teacher_clips": "Clips shown to the teacher and to networks of the method's own, at most in one run, seeds' mean.",
    "devices": "Classes of device the runs were made on.",
    "cells_filled": "How many of the board's cells its teacher and method fill.",
    "runs": "Names of the runs, parted by spaces; each has its files in runs/.",
}


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
    """A table as a JSON list of objects, one a line; what is not known is null."""
    lines = [{str(name): _plain(value) for name, value in line.items()} for line in table.to_dict(orient="records")]
    texts = [json.dumps(line, ensure_ascii=False, separators=(",", ":")) for line in lines]
    return "[\n" + ",\n".join(texts) + "\n]\n"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.{DIGITS}g}")
    return value.item() if hasattr(value, "item") else value
