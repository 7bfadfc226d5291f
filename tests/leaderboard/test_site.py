"""The site as files: complete without scripts or network, the same bytes each time, nothing of others touched."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
import pytest

from kdbench.checks import read_record
from kdbench.errors import KdbenchError, RecordError
from kdbench.leaderboard.boardpage import matched_with_less
from kdbench.leaderboard.pages import plan_site
from kdbench.leaderboard.site import MANIFEST, UNFINISHED, build_site, render_site, stale_files
from kdbench.leaderboard.standings import read_standings
from kdbench.records import Record
from tests.factories import make_record, trio, write_board, write_records
from tests.leaderboard.crowd import write_crowd

HOSTILE = '<script>alert("x")</script>'
VOID = {"meta", "link", "br", "img", "input", "hr", "path", "circle"}


class Page(HTMLParser):
    """Tags with their attributes in order, and the text."""

    def __init__(self, source: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(source.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    folder = tmp_path / "boards"
    write_board(folder)
    records = [*trio([10, 8, 6]), *trio([14, 14, 13], taught=True)]
    records += [*trio([5, 4], cell__fraction=0.5), *trio([9, 9], taught=True, cell__fraction=0.5)]
    write_records(folder, records)
    return folder


def site_of(boards: Path, *records: Record) -> dict[str, bytes]:
    write_records(boards, records)
    return render_site(boards)


def run_page(boards: Path, record: Record) -> Page:
    return Page(site_of(boards, record)[f"small/runs/{record.run_id}.html"])


def test_same_records_give_the_same_bytes(boards: Path) -> None:
    assert render_site(boards) == render_site(boards)


def test_order_in_which_records_were_written_does_not_matter(tmp_path: Path) -> None:
    records = trio([10, 12, 14])
    sites = []
    for name, order in (("a", records), ("b", records[::-1])):
        write_board(tmp_path / name)
        write_records(tmp_path / name, order)
        sites.append(render_site(tmp_path / name))
    assert sites[0] == sites[1]


def test_every_link_leads_to_a_file_or_an_anchor_of_the_site(boards: Path) -> None:
    site = render_site(boards)
    for name, content in site.items():
        if not name.endswith(".html"):
            continue
        page = Page(content)
        links = [attrs.get(key) for key in ("href", "src") for _, attrs in page.tags if attrs.get(key)]
        for link in links:
            parts = urlsplit(str(link))
            if parts.scheme == "data":
                continue
            assert not parts.scheme, f"{name} links to {link}"
            place = (Path("/") / name).parent / unquote(parts.path) if parts.path else Path("/") / name
            target = str(place.resolve()).lstrip("/")
            assert target in site, f"{name} links to {link}"
            if parts.fragment:
                assert f'id="{parts.fragment}"'.encode() in site[target], f"{name} links to {link}"


def test_pages_ask_nothing_of_the_network(boards: Path) -> None:
    for name, content in render_site(boards).items():
        if name.endswith((".html", ".css", ".js")):
            assert not re.search(rb"https?://|@import|url\(|//fonts|fetch\(", content), name


def test_tables_are_real_tables(boards: Path) -> None:
    page = Page(render_site(boards)["small/index.html"])
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(cell.get("scope") for cell in page.all("th"))
    assert all(region.get("tabindex") == "0" for region in page.all("div") if region.get("class") == "scroll")


def test_charts_have_a_name_for_those_who_cannot_see_them(boards: Path) -> None:
    page = Page(render_site(boards)["small/index.html"])
    charts = [svg for svg in page.all("svg") if svg.get("class") == "chart"]
    assert charts
    assert all(chart.get("aria-label") and chart.get("role") == "img" for chart in charts)


def test_ids_on_a_page_are_unique(boards: Path) -> None:
    for name, content in render_site(boards).items():
        if name.endswith(".html"):
            ids = [attrs["id"] for _, attrs in Page(content).tags if attrs.get("id")]
            assert len(ids) == len(set(ids)), name


def test_board_page_begins_with_the_answer(boards: Path) -> None:
    page = Page(render_site(boards)["small/index.html"])
    # At half of the videos two seeds give +20 and +25 points, whose interval (12.7 * 2.5) holds zero.
    assert "Sometimes: a teacher raises accuracy in 1 of 2 comparisons, by +28.3 points." in page.text
    assert "In the other one the difference is smaller than its interval." in page.text


def test_index_lists_each_board_with_its_gain(boards: Path) -> None:
    write_board(boards, "other")
    text = Page(render_site(boards)["index.html"]).text
    assert "+22.5 to +28.3 points" in text
    assert "no comparison yet" in text


def test_rows_link_to_the_runs_of_every_seed(boards: Path) -> None:
    page = Page(render_site(boards)["small/index.html"])
    linked = {link.get("href") for link in page.all("a")}
    records = (boards / "small" / "records").glob("*.json")
    assert {f"runs/{path.stem}.html" for path in records} <= linked


def test_stale_runs_stand_apart_with_the_pins_named(boards: Path) -> None:
    pins = dict(make_record().pins) | {"optim.lr": 0.5}
    text = Page(site_of(boards, make_record(pins=pins, run_id="older"))["small/index.html"]).text
    assert "Stale" in text
    assert re.search(r"older slim none alone .* optim\.lr", text)


def test_unranked_runs_stand_apart_with_the_reason(boards: Path) -> None:
    text = Page(site_of(boards, make_record(seed=7, status="partial", run_id="half"))["small/index.html"]).text
    assert re.search(r"half slim none alone .* the run is partial", text)


def test_hostile_text_is_shown_as_text(boards: Path) -> None:
    record = make_record(
        seed=8,
        student__name=HOSTILE,
        command=HOSTILE,
        classes=[HOSTILE, "b", "c", "d"],
        cell__test_list_sha256="77" * 32,
        submission={"author": HOSTILE, "link": "javascript:alert(1)"},
        environment={HOSTILE: HOSTILE},
        run_id="hostile",
    )
    for name, content in site_of(boards, record).items():
        if name.endswith(".html"):
            assert HOSTILE.encode() not in content, name
            assert b'href="javascript:' not in content, name


def test_run_page_shows_stages_command_teacher_and_files(boards: Path) -> None:
    record = make_record(hits=14, seed=0, taught=True)
    page = run_page(boards, record)
    for words in ("Accuracy, last epoch 70.0", "+20.0", record.command, "broad", "self-reported", "Teacher's training"):
        assert words in page.text, words
    assert {f"{record.run_id}.json.gz", f"{record.run_id}.csv"} <= {link.get("href") for link in page.all("a")}


def test_run_page_recomputes_the_accuracy_of_each_class(boards: Path) -> None:
    # The first 10 of 20 videos are right and the classes take turns: 3, 3, 2 and 2 of 5.
    text = run_page(boards, make_record(run_id="x", seed=9)).text
    assert "jump 3 of 5 60.0 run (2)" in text
    assert "walk 2 of 5 40.0 jump (3)" in text


def test_long_curve_is_thinned_on_the_page_and_complete_in_the_file(tmp_path: Path) -> None:
    write_board(tmp_path, epochs=200)
    record = make_record(curve=[at // 20 / 20 for at in range(1, 201)])
    write_records(tmp_path, [record])
    site = render_site(tmp_path)
    assert len(site[f"small/runs/{record.run_id}.csv"].splitlines()) == 201
    assert len(site[f"small/runs/{record.run_id}.html"]) < 20_000


def matches(boards: Path, *records: Record) -> list[tuple[float, float]]:
    write_board(boards)
    write_records(boards, records)
    return [(each.fraction, each.accuracy.mean) for each in matched_with_less(read_standings("small", boards))]


def test_as_good_with_less_means_that_the_interval_reaches_the_goal(tmp_path: Path) -> None:
    # 0.6, 0.6, 0.65 has its lower end at 0.545; 0.5, 0.55, 0.65 has a mean above 0.5 and a lower end at 0.38.
    alone = trio([10, 10, 10])
    sure, unsure = ({"taught": True, "cell__fraction": share} for share in (0.5, 0.25))
    assert matches(tmp_path / "a", *alone, *trio([12, 12, 13], **sure), *trio([10, 11, 13], **unsure)) == [
        (0.5, pytest.approx(37 / 60))
    ]
    assert matches(tmp_path / "b", *alone, *trio([10, 11, 13], **unsure)) == []


def test_as_good_with_less_needs_the_baseline_on_all_videos(tmp_path: Path) -> None:
    few, fewer = {"cell__fraction": 0.5}, {"cell__fraction": 0.25}
    assert matches(tmp_path, *trio([10, 10], **few), *trio([14, 14], taught=True, **fewer)) == []


def test_as_good_with_less_says_where_a_mean_stands_without_an_interval(tmp_path: Path) -> None:
    write_board(tmp_path)
    write_records(tmp_path, [make_record(), make_record(hits=12, taught=True, cell__fraction=0.5)])
    text = Page(render_site(tmp_path)["small/index.html"]).text
    assert "of the videos are enough (60.0 %, single run; all of them without a teacher give 50.0 %)." in text


def test_reported_numbers_stand_in_a_block_of_their_own(boards: Path) -> None:
    reported = {
        "source": {"title": "A title", "authors": "A. Author", "venue": "A journal", "doi": "10.1/2", "year": 2024},
        "note": "One seed.",
        "tables": [
            {
                "table": "Table 3",
                "caption": "Late accuracy",
                "columns": ["student", "teacher", "value"],
                "rows": [{"student": "slim", "teacher": "broad", "value": 0.55}],
            }
        ],
    }
    (boards / "small" / "reported.json").write_text(json.dumps(reported))
    site = render_site(boards)
    assert "As reported by the paper" in Page(site["small/index.html"]).text
    assert "slim broad 55.0" in Page(site["small/index.html"]).text
    assert b"A journal" not in site["small/leaderboard.csv"]


def test_unreadable_reported_numbers_are_an_error_with_their_path(boards: Path) -> None:
    (boards / "small" / "reported.json").write_text("{}")
    with pytest.raises(RecordError, match=r"small/reported\.json: Object missing required field `source`"):
        render_site(boards)


def test_unreadable_record_stops_the_build(boards: Path) -> None:
    (boards / "small" / "records" / "bad.json").write_text("{")
    with pytest.raises(RecordError, match=r"bad\.json"):
        render_site(boards)


def test_built_site_is_fresh(boards: Path, tmp_path: Path) -> None:
    written = build_site(tmp_path / "site", boards)
    assert all(path.is_file() for path in written)
    assert stale_files(tmp_path / "site", boards) == []


def test_check_names_changed_missing_and_left_over_files(boards: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    record = make_record(seed=9)
    (path,) = write_records(boards, [record])
    build_site(out, boards)
    path.unlink()
    (out / "index.html").write_text("edited")
    (out / "assets" / "table.js").unlink()
    stale = stale_files(out, boards)
    assert {"index.html", "assets/table.js", f"small/runs/{record.run_id}.html", MANIFEST} <= set(stale)
    assert "assets/style.css" not in stale


def test_build_removes_pages_of_records_that_are_gone(boards: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    write_board(boards, "gone")
    (path,) = write_records(boards, [make_record(board__name="gone")], "gone")
    build_site(out, boards)
    page = out / "gone" / "runs" / f"{path.stem}.html"
    assert page.is_file()
    for part in (path, path.parent.parent / "board.toml"):
        part.unlink()
    build_site(out, boards)
    assert not (out / "gone").exists()


def test_build_leaves_files_of_others_alone(boards: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    build_site(out, boards)
    (out / "CNAME").write_text("example.org")
    build_site(out, boards)
    assert (out / "CNAME").read_text() == "example.org"


def test_build_refuses_a_folder_of_others(boards: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "index.html").write_text("mine")
    with pytest.raises(KdbenchError, match=r"home: holds files but no manifest\.txt of a site"):
        build_site(tmp_path / "home", boards)
    assert (tmp_path / "home" / "index.html").read_text() == "mine"


def test_manifest_cannot_reach_outside_the_folder(boards: Path, tmp_path: Path) -> None:
    out, outside = tmp_path / "site", tmp_path / "precious.txt"
    build_site(out, boards)
    outside.write_text("mine")
    (out / MANIFEST).write_text(f"../precious.txt\n{outside}\n")
    build_site(out, boards)
    assert outside.read_text() == "mine"


def test_folder_without_boards_gives_an_index(tmp_path: Path) -> None:
    assert "There is no board yet." in Page(render_site(tmp_path)["index.html"]).text


def files_in(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_any_number_of_processes_gives_the_same_bytes(boards: Path, tmp_path: Path, processes: int) -> None:
    build_site(tmp_path / "site", boards, processes=processes)
    assert files_in(tmp_path / "site") == render_site(boards)


def test_build_writes_only_files_that_differ(boards: Path, tmp_path: Path) -> None:
    out = tmp_path / "site"
    build_site(out, boards)
    (out / "index.html").write_text("edited")
    before = {name: (out / name).stat().st_ino for name in files_in(out)}
    build_site(out, boards)
    assert [name for name, number in before.items() if (out / name).stat().st_ino != number] == ["index.html"]


def test_unreadable_page_of_one_process_stops_the_build(
    boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path, *_) = sorted((boards / "small" / "records").iterdir())
    page = f"small/runs/{path.stem}.html"

    def gone() -> bytes:
        raise RecordError(f"{path}: cannot be read")

    with pytest.raises(RecordError, match=f"{path}: cannot be read"):
        build_site(tmp_path / "site", boards, planner=lambda folder: plan_site(folder) | {page: gone}, processes=2)


def test_process_that_is_killed_ends_the_build_with_one_line(boards: Path, tmp_path: Path) -> None:
    def killed() -> bytes:
        os.kill(os.getpid(), signal.SIGKILL)
        return b""

    with pytest.raises(KdbenchError, match="was ended from outside"):
        build_site(tmp_path / "site", boards, planner=lambda _: {"a.html": killed, "b.html": bytes}, processes=2)


def test_build_after_a_killed_one_ends_right(boards: Path, tmp_path: Path) -> None:
    """The first build kills its own process with kill -9 while it writes a page of the middle."""
    out = tmp_path / "site"
    program = (
        "import os, signal, sys; from pathlib import Path; from kdbench.leaderboard import site;"
        "plan = site.plan_site(Path(sys.argv[2])); half = sorted(plan)[len(plan) // 2];"
        "plan[half] = lambda: os.kill(os.getpid(), signal.SIGKILL);"
        "site.build_site(Path(sys.argv[1]), planner=lambda _: plan, processes=1)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(out), str(boards)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert 0 < len(files_in(out)) < len(render_site(boards))
    (out / "small" / f".123{UNFINISHED}").write_text("half a page")
    build_site(out, boards)
    assert files_in(out) == render_site(boards)


def test_record_is_published_as_gzip_without_white_space(boards: Path) -> None:
    record = make_record(run_id="x", seed=9)
    packed = site_of(boards, record)["small/runs/x.json.gz"]
    content = (boards / "small" / "records" / "x.json").read_bytes()
    assert gzip.decompress(packed) == msgspec.json.format(content, indent=-1)
    assert msgspec.json.decode(gzip.decompress(packed)) == msgspec.json.decode(content)
    assert packed[4:8] == bytes(4), "a time would change the bytes from build to build"


def test_record_that_another_machine_packed_is_fresh(boards: Path, tmp_path: Path) -> None:
    write_records(boards, [make_record(run_id="x", seed=9)])
    build_site(tmp_path / "site", boards)
    path = tmp_path / "site" / "small" / "runs" / "x.json.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1))
    assert stale_files(tmp_path / "site", boards) == []
    path.write_bytes(gzip.compress(b"{}"))
    assert stale_files(tmp_path / "site", boards) == ["small/runs/x.json.gz"]


def test_the_files_of_a_run_take_less_than_20_kb(tmp_path: Path) -> None:
    write_crowd(tmp_path, 50)
    site = render_site(tmp_path)
    sizes = {name: len(content) for name, content in site.items() if "/runs/" in name}
    assert len(sizes) == 3 * 50
    assert sum(sizes.values()) < 50 * 20_000


def test_csv_of_all_runs_is_packed_and_has_a_line_for_each_run_and_epoch(boards: Path) -> None:
    lines = gzip.decompress(render_site(boards)["all-results.csv.gz"]).decode().splitlines()
    runs = list((boards / "small" / "records").iterdir())
    assert len(lines) == 1 + sum(len(read_record(path).epochs) for path in runs)


def changed_by(boards: Path, old: Record, new: Record) -> set[str]:
    """The files of the site that differ once a record was put in another's place."""
    before = site_of(boards, old)
    after = site_of(boards, new)
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_another_author_changes_only_the_run_and_the_list_of_changes(boards: Path) -> None:
    old, new = (make_record(seed=9, run_id="x", submission={"author": author}) for author in ("Ada", "Emmy"))
    assert changed_by(boards, old, new) == {
        "changelog.html",
        "changes.csv",
        "small/runs/x.html",
        "small/runs/x.json.gz",
    }


def test_another_number_of_an_unpaired_run_changes_no_page_of_another_run_or_board(boards: Path) -> None:
    write_board(boards, "other")
    changed = changed_by(boards, *(make_record(hits=hits, seed=3, run_id="x") for hits in (10, 12)))
    runs = {name for name in changed if "/runs/" in name}
    assert runs == {f"small/runs/x{ending}" for ending in (".html", ".csv", ".json.gz")}
    assert not [
        name for name in changed if name.startswith("other/") or name.endswith(("protocol.html", "-50pct.html"))
    ]
    assert {
        "all-results.csv.gz",
        "small/index.html",
        "small/leaderboard.csv",
        "small/cells/slim-100pct.html",
    } <= changed


def test_another_number_of_a_baseline_changes_the_pages_of_the_runs_that_are_paired_with_it(boards: Path) -> None:
    write_records(boards, [make_record(seed=3, run_id="paired", hits=16, taught=True)])
    changed = changed_by(boards, *(make_record(hits=hits, seed=3, run_id="x") for hits in (10, 12)))
    assert {name for name in changed if "/runs/" in name and name.endswith(".html")} == {
        "small/runs/x.html",
        "small/runs/paired.html",
    }


def test_run_page_leads_to_its_cell_and_its_paired_baseline(boards: Path) -> None:
    baseline = make_record(seed=3, run_id="alone")
    write_records(boards, [baseline])
    page = run_page(boards, make_record(seed=3, hits=16, taught=True, run_id="taught"))
    assert {"../cells/slim-100pct.html", "alone.html"} <= {link.get("href") for link in page.all("a")}


def test_run_page_tells_what_the_method_cost_and_how_its_phases_went(boards: Path) -> None:
    rows = [
        {"phase": "warm", "epoch": at, "lr": 0.1, "losses": {"hint": 3 / at}, "train_s": 1.0, "data_wait_s": 0.5}
        for at in (1, 2)
    ]
    changes = {"extra_params": 12345, "phase_epochs": 2, "teacher_clips_per_step": 16}
    method = {f"method__{name}": value for name, value in changes.items()}
    page = run_page(boards, make_record(seed=9, taught=True, run_id="x", phases=rows, **method))
    for words in ("Method's own parameters 12,345", "in a step 16", "phase “warm”", "1 0.1 3 2 0.1 1.5"):
        assert words in page.text, words
