"""What the page of one cell shows: all its rows against each other, over the epochs and video by video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdbench.leaderboard.standings import Row, Standings


def cell_context(standings: Standings, rows: Sequence[Row]) -> dict[str, Any]:
    """The names that the cell template uses; `rows` are those of one cell, in the board's order."""
    return {"board": standings.board, "key": rows[0].key, "rows": rows}
