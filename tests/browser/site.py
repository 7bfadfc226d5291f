"""A site with every kind of page, made from generated records: a board with standings, one in hostile words and one
without runs; and apart from it the page of a board with more than a thousand rows.
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from kdbench.checks import problems_of
from kdbench.leaderboard.boardpage import board_context
from kdbench.leaderboard.pages import ASSETS, plan_site
from kdbench.leaderboard.render import render, theme_file
from kdbench.leaderboard.standings import read_standings
from kdbench.records import Record, to_json
from tests.factories import make_record, trio, write_board, write_records
from tests.leaderboard.crowd import write_crowd

CROWD = 3384  # records: as many rows as the pages must carry
HURT = '<script>window.hurt=1</script><img src=x onerror="window.hurt=1">'
HOSTILE = f"{HURT}\N{HEBREW LETTER ALEF}\N{HEBREW LETTER BET}" + "long" * 60
LINK = "javascript:window.hurt=1"
ENTRIES = (("soft", "broad"), ("hard", "broad"), ("warm", "broad"), ("soft", "tall"))
PLACES = {"run_id", "board", "pins"}  # where a record lies


def write_site(out: Path, boards: Path) -> list[str]:
    """Writes the whole site of three small boards; returns the names of its pages."""
    for name in ("small", "empty", "hostile"):
        write_board(boards, name)
    write_records(boards, [*standings(), stale(), unfinished()])
    write_records(boards, hostile(), "hostile")
    plan = plan_site(boards)
    for name, make in plan.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make())
    return sorted(name for name in plan if name.endswith(".html"))


def write_crowd_page(out: Path, boards: Path) -> Path:
    """Writes the page of a board with more than a thousand rows, without the pages that it links to."""
    write_crowd(boards, CROWD)
    path = out / "crowd" / "index.html"
    path.parent.mkdir(parents=True)
    path.write_bytes(render("crowd/index.html", "board.html.j2", board_context(read_standings("crowd", boards))))
    for name in ASSETS:
        (out / "assets").mkdir(exist_ok=True)
        (out / "assets" / name).write_bytes(theme_file(name))
    return path


def standings() -> list[Record]:
    """Two students on two fractions, without a teacher, with one teacher and three methods, with another and one."""
    records = []
    for (at, student), fraction in product(enumerate(("slim", "wide")), (1.0, 0.5)):
        start = int(8 * fraction) + at
        place = {"student__name": student, "cell__fraction": fraction}
        records += trio([start, start + 1, start + 1], **place)
        for better, (method, teacher) in enumerate(ENTRIES):
            changes = place | {"method__name": method, "teacher__spec": teacher, "teacher__privileged": fraction < 1}
            records += trio([start + better, start + better + 3, start + 2 * better], taught=True, **changes)
    return records


def stale() -> Record:
    return make_record(pins=dict(make_record().pins) | {"optim.lr": 0.5}, run_id="older")


def unfinished() -> Record:
    return make_record(seed=7, status="partial", run_id="half")


def hostile() -> list[Record]:
    """Runs with and without a teacher in which every field that may hold any text holds a hostile one."""
    found = []
    for seed, taught in product((0, 1), (False, True)):
        hits, run_id = 10 + seed + 3 * taught, f"x{seed}{taught:d}"
        record = make_record(seed=seed, hits=hits, taught=taught, board__name="hostile", run_id=run_id)
        tree: dict[str, Any] = json.loads(to_json(record))
        checked = {"state": "self-reported", "by": "by", "note": "note", "date": "2026-01-01"}
        tree["submission"] = {"author": "author", "link": LINK, "licence": "licence", "verification": checked}
        tree["environment"] = {HOSTILE: HOSTILE, "device": {"type": "cpu", "name": "name", "count": 1}}
        tree["student"]["options"] = {"option": "value"}
        tree["method"]["options"] = {HOSTILE: HOSTILE}
        _replace(tree, tree)
        tree["method"]["name"] = HOSTILE if taught else record.method.name
        found.append(msgspec.convert(tree, Record))
    return found


def _replace(tree: dict[str, Any], part: Any) -> None:
    """Puts the hostile text wherever the reader of records takes it."""
    for key, value in part.items() if isinstance(part, dict) else enumerate(part):
        if key in PLACES or value == LINK:
            continue
        if isinstance(value, dict | list):
            _replace(tree, value)
        elif isinstance(value, str):
            part[key] = f"{HOSTILE}{key}"
            if not _is_sound(tree):
                part[key] = value


def _is_sound(tree: dict[str, Any]) -> bool:
    try:
        return not problems_of(msgspec.convert(tree, Record))
    except (msgspec.ValidationError, ValueError, KeyError):
        return False
