"""A finished run in a few lines."""

from __future__ import annotations

import shlex
from pathlib import Path

from kdbench.records import Record


def summary_of(record: Record, runs: Path) -> str:
    """Accuracy at the stages and at the end, transfer, cost, and where everything lies."""
    derived, cell = record.derived, record.cell
    taught = (
        f" taught by {record.teacher.spec} ({record.method.name})" if record.teacher else f" ({record.method.name})"
    )
    lines = [
        f"{record.student.name}{taught}, "
        f"{100 * cell.fraction:g}% of {cell.dataset} split {cell.split}, seed {record.seed}",
        f"  top-1 {derived.top1:.1%}   top-5 {derived.top5:.1%}   ({cell.num_test_videos} test videos)",
        f"  early {derived.early:.1%}   middle {derived.middle:.1%}   late {derived.late:.1%}",
        "  epochs to " + "   ".join(f"{float(goal):.0%}: {epoch}" for goal, epoch in derived.epochs_to.items()),
    ]
    if record.transfer:
        lines.append(f"  fine-tuned on {record.transfer.dataset}: top-1 {record.transfer.top1:.1%}")
    if record.status == "partial":
        lines.append(f"  partial: {record.missing_videos} videos were missing; this record is never ranked")
    folder = runs / record.board.name / record.run_id
    lines += [
        f"  {record.cost.wall_s:.0f} s on {record.environment['device']['name']} ({record.environment['precision']})",
        f"  {folder}",
        f"Put it on the leaderboard: {shlex.join(['kdbench', 'submit', str(folder)])}",
    ]
    return "\n".join(lines)
