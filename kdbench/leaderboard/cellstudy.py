"""All that is computed about one cell, once for its page and for its files: curves, tests, agreement, classes.

Accuracies, agreements and gains are shares between 0 and 1.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from typing import Any, NamedTuple

import numpy as np

from kdbench.leaderboard.pairwise import Agreement, ClassGain, Comparison, class_gains, compare, holm, mean_agreement
from kdbench.leaderboard.profiles import VarianceSplit, goals_reached, reached_by, runs_by_seeds, split_variance
from kdbench.leaderboard.scoring import RowKey
from kdbench.leaderboard.standings import Row, Standings, named_cells
from kdbench.leaderboard.tables import DIGITS
from kdbench.records import Record

SHOWN = 12  # rows that are compared with each other, the baseline first, then by gain
CURVE_COLUMNS = ("teacher", "method", "epoch", "runs", "mean", "lowest", "highest")
PAIR_COLUMNS = (
    *("teacher", "method", "other_teacher", "other_method", "seed", "only_first_right", "only_second_right"),
    *("answers", "difference", "p", "p_corrected"),
)


class CurvePoint(NamedTuple):
    """1-view test accuracy of the runs of a row after one epoch."""

    epoch: int
    mean: float
    lowest: float
    highest: float


@dataclass(frozen=True)
class Pair:
    """Two of the shown rows by their places, their comparison, and its p corrected for all pairs of the cell."""

    first: int
    second: int
    comparison: Comparison
    corrected: float


@dataclass(frozen=True)
class Likeness:
    """How often the runs of a row answer as others do, each a mean over seeds and None where nothing is known.

    `teacher`: as their teacher does, by its own record. `untaught`: how often the paired baseline runs answer as that
    teacher. `baseline`: as the paired baseline runs do. `seeds`: as the next seed of the same row does.
    """

    row: Row
    teacher: Agreement | None
    untaught: Agreement | None
    baseline: Agreement | None
    seeds: Agreement | None


@dataclass(frozen=True)
class CellStudy:
    """The rows of one cell in the board's order, and what is computed about them when it is first asked for.

    `teachers` holds the complete records of the board that teachers' weights come from, by the digest of the weights;
    `grids` is what `runs_by_seeds` found.
    """

    standings: Standings
    rows: tuple[Row, ...]
    teachers: Mapping[str, Record]
    grids: Mapping[RowKey, Mapping[tuple[int, int], float]]

    @property
    def shown(self) -> tuple[Row, ...]:
        """The rows that are compared with each other."""
        return self.rows[:SHOWN]

    @property
    def family(self) -> int:
        """How many pairs of rows the cell has, for which the tests are corrected."""
        return len(self.rows) * (len(self.rows) - 1) // 2

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """Each two of the shown rows that have a seed in common on the same test videos."""
        shown = list(enumerate(self.shown))
        found = [(i, j, compare(one.runs, other.runs)) for (i, one), (j, other) in combinations(shown, 2)]
        known = [(i, j, comparison) for i, j, comparison in found if comparison]
        corrected = holm([comparison.p for _, _, comparison in known], self.family)
        return tuple(Pair(*pair, p) for pair, p in zip(known, corrected, strict=True))

    @cached_property
    def likenesses(self) -> tuple[Likeness, ...]:
        """The agreement of each row with its teacher, its baseline and itself."""
        return tuple(self._likeness(row) for row in self.rows)

    def _likeness(self, row: Row) -> Likeness:
        teachers = [
            self.teachers.get(run.record.teacher.weights_sha256) if run.record.teacher else None for run in row.runs
        ]
        taught = [(run, teacher) for run, teacher in zip(row.runs, teachers, strict=True) if teacher]
        paired = [] if row.is_baseline else [(run.record, run.baseline) for run in row.runs if run.baseline]
        return Likeness(
            row=row,
            teacher=mean_agreement([(run.record, teacher) for run, teacher in taught]),
            untaught=mean_agreement([(run.baseline, teacher) for run, teacher in taught if run.baseline]),
            baseline=mean_agreement(paired),
            seeds=mean_agreement([(one.record, other.record) for one, other in pairwise(row.runs)]),
        )

    @cached_property
    def classes(self) -> tuple[tuple[Row, tuple[ClassGain, ...]], ...]:
        """The gains of each class for the shown rows that have paired runs."""
        taught = [row for row in self.shown if not row.is_baseline]
        return tuple((row, gains) for row in taught if (gains := tuple(class_gains(row.runs))))

    @cached_property
    def reached(self) -> tuple[tuple[Row, Mapping[str, list[int | str]]], ...]:
        """The epochs of each row's runs to each goal of the board; see `goals_reached`."""
        goals = self.standings.board.evaluation
        return tuple((row, goals_reached(row, goals.milestones, goals.baseline_milestones)) for row in self.rows)

    @cached_property
    def variances(self) -> tuple[tuple[Row, VarianceSplit], ...]:
        """The rows whose runs on several subsets tell subset and training seed apart."""
        splits = [(row, split_variance(self.grids[row.key._replace(subset_seed=0)])) for row in self.rows]
        return tuple((row, split) for row, split in splits if split)


def cell_studies(standings: Standings) -> dict[str, CellStudy]:
    """A study of each cell of a board by the cell's name."""
    teachers, grids = teachers_of(standings), runs_by_seeds(standings.rows)
    return {name: CellStudy(standings, rows, teachers, grids) for name, rows in named_cells(standings.rows).items()}


def teachers_of(standings: Standings) -> dict[str, Record]:
    """The complete record that a teacher's weights come from, by the digest of the weights.

    One run that names it speaks for all runs with these weights: the same training done again has another run id.
    """
    records = {run.record.run_id: run.record for run in standings.runs if run.record.status == "complete"}
    named = sorted(
        (teacher.run_id, teacher.weights_sha256)
        for run in standings.runs
        if (teacher := run.record.teacher) and teacher.run_id
    )
    return {digest: records[name] for name, digest in reversed(named) if name in records}


def curve_of(row: Row) -> list[CurvePoint]:
    """The mean curve of a row's runs with its lowest and highest values; ranked runs are all equally long."""
    values = np.array([[epoch.test_top1 for epoch in run.record.epochs] for run in row.runs])
    means, lows, highs = values.mean(axis=0).tolist(), values.min(axis=0).tolist(), values.max(axis=0).tolist()
    return [CurvePoint(at + 1, *found) for at, found in enumerate(zip(means, lows, highs, strict=True))]


# --- files -------------------------------------------------------------------------------------------------


def curves_csv(study: CellStudy) -> bytes:
    """One line per row and epoch: mean, lowest and highest 1-view test accuracy of the row's runs."""
    lines = [",".join(CURVE_COLUMNS)]
    for row in study.rows:
        start = f"{csv_line((row.key.teacher, row.key.method))},"
        for epoch, mean, low, high in curve_of(row):
            lines.append(f"{start}{epoch},{len(row.runs)},{mean:.{DIGITS}g},{low:.{DIGITS}g},{high:.{DIGITS}g}")
    return ("\n".join(lines) + "\n").encode()


def pairs_csv(study: CellStudy) -> bytes:
    """One line per pair of shown rows and seed, and one over "all" seeds, whose p is corrected too."""
    lines: list[tuple[Any, ...]] = []
    for pair in study.pairs:
        one, other, found = study.shown[pair.first].key, study.shown[pair.second].key, pair.comparison
        names = (one.teacher, one.method, other.teacher, other.method)
        videos = found.answers // len(found.by_seed)
        for each in found.by_seed:
            difference = (each.first_only - each.second_only) / videos
            lines.append((*names, each.seed, each.first_only, each.second_only, videos, difference, each.p, None))
        counts = (found.first_only, found.second_only, found.answers)
        lines.append((*names, "all", *counts, found.difference, found.p, pair.corrected))
    return "".join(f"{csv_line(tuple(map(_rounded, line)))}\n" for line in (PAIR_COLUMNS, *lines)).encode()


def study_json(study: CellStudy) -> bytes:
    """The tables of the cell's page: tests, agreement, gains of the classes, milestones, variance."""
    board, key = study.standings.board, study.rows[0].key
    tables = {
        "pairs": [
            _names(study.shown[pair.first])
            | {f"other_{name}": value for name, value in _names(study.shown[pair.second]).items()}
            | {"seeds": [each._asdict() for each in pair.comparison.by_seed], "answers": pair.comparison.answers}
            | {"difference": pair.comparison.difference, "p": pair.comparison.p, "p_corrected": pair.corrected}
            for pair in study.pairs
        ],
        "agreement": [
            _names(each.row)
            | {
                f"{name}_{field}": getattr(found, field, None)
                for name, found in vars(each).items()
                if name != "row"
                for field in Agreement._fields
            }
            for each in study.likenesses
        ],
        "classes": [_names(row) | gain._asdict() for row, gains in study.classes for gain in gains],
        "reached": [
            _names(row) | {"goal": goal, "runs": len(epochs), "share_by_epoch": reached_by(epochs)}
            for row, goals in study.reached
            for goal, epochs in goals.items()
        ],
        "variance": [_names(row) | vars(split) | {"freedom": split.freedom} for row, split in study.variances],
    }
    cell = {"board": board.name, **key._asdict()}
    del cell["teacher"], cell["method"]
    lines = [f'"cell": {_line(cell)}']
    for name, table in tables.items():
        lines.append(f'"{name}": [\n' + ",\n".join(map(_line, table)) + "\n]")
    return ("{" + ",\n".join(lines) + "}\n").encode()


CELL_FILES = {".csv": curves_csv, "-pairs.csv": pairs_csv, ".json": study_json}


def _names(row: Row) -> dict[str, Any]:
    return {"teacher": row.key.teacher, "method": row.key.method}


def csv_line(cells: Iterable[Any]) -> str:
    """Cells as one line of CSV, without its end."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()


def _rounded(value: Any) -> Any:
    return f"{value:.{DIGITS}g}" if isinstance(value, float) else value


def _line(item: Any) -> str:
    """One object on one line: a tree that is indented throughout takes ten times as long."""
    return json.dumps(_plain(item), ensure_ascii=False, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
