"""A built site whose links, rows and files are put out of order, one at a time."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from kdbench.leaderboard.audit import LARGEST_PAGE, faults_of, links_in
from kdbench.leaderboard.site import build_site
from tests.factories import trio, write_board, write_records


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_board(tmp_path / "boards")
    write_records(tmp_path / "boards", [*trio([10, 8, 6]), *trio([14, 14, 13], taught=True)])
    build_site(tmp_path / "site", tmp_path / "boards")
    return tmp_path / "site"


def add(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace("</main>", f"{text}</main>"), encoding="utf-8")


def run_of(out: Path) -> str:
    return min(path.stem for path in (out / "small" / "runs").glob("*.html"))


def forget(out: Path, name: str) -> None:
    """Take a file out of the site and its manifest."""
    manifest = out / "manifest.txt"
    manifest.write_text(manifest.read_text().replace(f"{name}\n", ""))
    (out / name).unlink()


def test_a_built_site_has_no_fault(out: Path) -> None:
    assert faults_of(out) == []


def test_link_to_a_page_that_nobody_published_is_named(out: Path) -> None:
    add(out / "small" / "index.html", '<a href="runs/dream.html">99.9</a>')
    (fault,) = faults_of(out)
    assert fault == (
        f"{out / 'small' / 'index.html'}: the link 'runs/dream.html' leads to no file of the site; "
        "correct what makes the page"
    )


def test_link_to_a_place_that_a_page_does_not_have_is_named(out: Path) -> None:
    add(out / "index.html", '<a href="small/index.html#nowhere">x</a>')
    (fault,) = faults_of(out)
    assert "'small/index.html#nowhere' leads to no anchor of small/index.html" in fault


def test_address_that_runs_a_script_is_named(out: Path) -> None:
    add(out / "index.html", '<a href="javascript:alert(1)">x</a>')
    (fault,) = faults_of(out)
    assert "is no http or https address" in fault


def test_address_of_a_views_state_is_no_place_on_a_page(out: Path) -> None:
    add(out / "index.html", '<a href="small/index.html#sort=gain">x</a>')
    assert faults_of(out) == []


def test_file_that_no_build_wrote_is_named(out: Path) -> None:
    (out / "small" / "extra.csv").write_text("1")
    (out / "CNAME").write_text("example.org")
    assert faults_of(out) == [f"{out / 'small' / 'extra.csv'}: is in no manifest; remove it"]


def test_row_whose_record_is_not_published_is_named(out: Path) -> None:
    run = run_of(out)
    forget(out, f"small/runs/{run}.json.gz")
    (fault,) = [fault for fault in faults_of(out) if "leaderboard.csv" in fault]
    assert f"names 3 runs, of which {run} is not published; every number needs its record" in fault


def test_row_that_its_records_do_not_give_is_named(out: Path) -> None:
    path = out / "small" / "runs" / f"{run_of(out)}.json.gz"
    record = json.loads(gzip.decompress(path.read_bytes()))
    record["derived"]["top1"] += 0.3
    path.write_bytes(gzip.compress(json.dumps(record).encode()))
    (fault,) = faults_of(out)
    assert "leaderboard.csv:2: accuracy is 0.4, the records of its runs give 0.5" in fault


def test_row_with_fewer_records_than_seeds_is_named(out: Path) -> None:
    table = out / "small" / "leaderboard.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(f"{run_of(out)} ", ""), encoding="utf-8")
    (fault,) = faults_of(out)
    assert "leaderboard.csv:2: names 2 runs, for 3 seeds; every number needs its record" in fault


def test_page_that_is_too_large_is_named(out: Path) -> None:
    add(out / "index.html", "x" * LARGEST_PAGE)
    (fault,) = faults_of(out)
    assert f"a page has at most {LARGEST_PAGE}; split it" in fault


def test_links_are_read_from_attributes_alone() -> None:
    page = '<p>href=&#34;a.html&#34;</p><a class="x" href="b.html?a=1&amp;b=2">c</a><script src="d.js"></script>'
    assert list(links_in(page)) == ["b.html?a=1&b=2", "d.js"]
