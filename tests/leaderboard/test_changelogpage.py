"""The changelog and its feed: from records alone, valid, and safe against what records say."""

from __future__ import annotations

import gzip
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from kdbench.errors import BoardError
from kdbench.leaderboard import changelogpage
from kdbench.leaderboard.changelogpage import FEED_ENTRIES, FEED_RUNS, OPEN_RUNS, site_url
from kdbench.leaderboard.pages import plan_site
from kdbench.leaderboard.submit import withdraw
from kdbench.records import Record
from tests.factories import make_record, trio, write_board, write_records

ATOM = "{http://www.w3.org/2005/Atom}"
XHTML = "{http://www.w3.org/1999/xhtml}"
BASE = "{http://www.w3.org/XML/1998/namespace}base"
DAY = {"date": "2024-03-01"}


@pytest.fixture
def boards(tmp_path: Path) -> Path:
    folder = tmp_path / "boards"
    write_board(folder)
    return folder


def page(boards: Path, *records: Record) -> str:
    write_records(boards, records)
    return plan_site(boards)["changelog.html"]().decode()


def feed(boards: Path, *records: Record) -> ET.Element:
    write_records(boards, records)
    return ET.fromstring(plan_site(boards)["feed.xml"]())


def texts(element: ET.Element, *names: str) -> list[str]:
    path = "/".join(f"{ATOM}{name}" for name in names)
    return [found.text or "" for found in element.findall(path)]


# --- page --------------------------------------------------------------------------------------------------


def test_batch_of_runs_is_one_line_with_links_to_all(boards: Path) -> None:
    records = [*trio([10, 11], submission=DAY), *trio([12, 13], taught=True, submission=DAY)]
    text = page(boards, *records)
    assert text.count("<h3") == 1
    assert "small</a>: 4 runs of 2 methods added" in text
    assert all(f'href="small/runs/{record.run_id}.html"' in text for record in records)


def test_long_list_is_folded_up(boards: Path) -> None:
    fractions = [at / 20 for at in range(1, 14)]
    records = [make_record(cell__fraction=share, submission=DAY) for share in fractions]
    assert "<summary>The runs of 13 rows</summary>" in page(boards, *records)


def test_long_row_is_folded_up(boards: Path) -> None:
    records = [make_record(seed=at, submission=DAY) for at in range(OPEN_RUNS + 1)]
    assert "<summary>The runs of 1 row</summary>" in page(boards, *records)


def test_page_links_to_the_newest_runs_and_names_the_file_of_the_rest(
    boards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changelogpage, "PAGE_RUNS", 3)
    days = ["2024-03-03", "2024-03-02", "2024-03-02", "2024-03-01"]
    older = trio([7, 8, 9], cell__fraction=0.5, submission={"date": "2024-03-02"})
    text = page(boards, *[make_record(seed=at, submission={"date": days[at]}) for at in (0, 3)], *older)
    assert re.findall(r">(seed \d)<|and (1 further run), in|>(1 run), in", text) == [
        ("seed 0", "", ""),
        ("seed 0", "", ""),
        ("seed 1", "", ""),
        ("", "1 further run", ""),
        ("", "", "1 run"),
    ]
    assert text.count('href="changes.csv"') == 3


def test_page_lists_the_newest_entries_and_counts_the_older_ones(boards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changelogpage, "PAGE_ENTRIES", 2)
    days = [f"2024-03-0{at + 1}" for at in range(4)]
    text = page(boards, *[make_record(seed=at, submission={"date": day}) for at, day in enumerate(days)])
    assert re.findall(r'<time datetime="(.*?)">', text) == days[:1:-1]
    assert "2 older entries, in <a" in text


def test_withdrawal_stands_there_with_its_reason_and_its_run_keeps_a_page(boards: Path) -> None:
    record = make_record(submission=DAY)
    write_records(boards, [record])
    withdraw(record.run_id, "the teacher saw the test list", boards)
    site = {name: make() for name, make in plan_site(boards).items()}
    assert b"1 run withdrawn" in site["changelog.html"]
    assert b"the teacher saw the test list" in site["changelog.html"]
    shown = site[f"small/runs/{record.run_id}.html"].decode()
    assert re.search(r"This run is withdrawn: the teacher saw the test list \(\d{4}-\d\d-\d\d\)\.", shown)
    assert record.run_id.encode() not in site["small/leaderboard.csv"] + gzip.decompress(site["all-results.csv.gz"])


def test_page_of_a_run_says_how_to_repeat_it_and_what_was_said_of_it_before(boards: Path) -> None:
    earlier = [{"what": "disputed", "date": "2024-04-01", "by": "bob", "note": "no <gain>"}]
    record = make_record(submission=DAY | {"earlier": earlier})
    write_records(boards, [record])
    shown = plan_site(boards)[f"small/runs/{record.run_id}.html"]().decode()
    assert f"<code>kdbench reproduce {record.run_id}</code>" in shown
    assert "disputed by bob, 2024-04-01: no &lt;gain&gt;" in shown


def test_runs_without_a_day_are_shown_as_such(boards: Path) -> None:
    assert "Without a day" in page(boards, make_record())


def test_empty_board_gives_a_page_and_a_feed(boards: Path) -> None:
    assert "There is no record yet." in page(boards)
    assert texts(feed(boards), "updated") == ["1970-01-01T00:00:00Z"]


# --- feed --------------------------------------------------------------------------------------------------


def test_feed_has_what_atom_requires(boards: Path) -> None:
    checked = {"state": "disputed", "by": "bob", "note": "no gain", "date": "2024-04-01"}
    root = feed(
        boards, *trio([10, 11], submission=DAY), make_record(seed=9, submission=DAY | {"verification": checked})
    )
    assert root.tag == f"{ATOM}feed"
    for element in (root, *root.findall(f"{ATOM}entry")):
        for name in ("id", "title", "updated"):
            (text,) = texts(element, name)
            assert text.strip()
        (when,) = texts(element, "updated")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", when)
        (name,) = texts(element, "id")
        assert re.fullmatch(r"tag:[a-z.-]+,\d{4}:[A-Za-z0-9._:-]+", name)  # RFC 4151
    assert texts(root, "author", "name") == ["kdbench"]
    assert {link.get("rel") for link in root.findall(f"{ATOM}link")} == {"self", "alternate"}


def test_feed_was_updated_when_its_newest_entry_was(boards: Path) -> None:
    records = [make_record(seed=at, submission={"date": f"2024-03-0{at + 1}"}) for at in range(3)]
    root = feed(boards, *records)
    assert texts(root, "updated") == ["2024-03-03T00:00:00Z"]
    assert texts(root, "entry", "updated") == [f"2024-03-0{day}T00:00:00Z" for day in (3, 2, 1)]


def test_ids_of_a_feed_are_unique(boards: Path) -> None:
    write_board(boards, "other")
    write_records(boards, [make_record(board__name="other", submission=DAY)], "other")
    root = feed(boards, *[make_record(seed=at, submission={"date": f"2024-03-0{at + 1}"}) for at in range(3)])
    ids = [*texts(root, "id"), *texts(root, "entry", "id")]
    assert len(ids) == len(set(ids)) == 5


def test_links_of_the_feed_lead_to_files_and_anchors_of_the_site(boards: Path) -> None:
    root = feed(boards, *trio([10, 11], submission=DAY))
    site = plan_site(boards)
    links = [str(link.get("href")) for link in root.iter(f"{ATOM}link")]
    links += [str(link.get("href")) for link in root.iter(f"{XHTML}a")]
    for name, _, anchor in (link.partition("#") for link in links):
        assert name in site
        assert not anchor or f'id="{anchor}"'.encode() in site[name]()
    assert len(links) == 5


def test_links_of_the_feed_are_relative_until_an_address_is_set(boards: Path) -> None:
    assert feed(boards).get(BASE) is None
    (boards / "site.toml").write_text('url = "https://example.org/kdbench"\n')
    assert feed(boards).get(BASE) == "https://example.org/kdbench/"


def test_runs_without_a_day_are_not_in_the_feed(boards: Path) -> None:
    assert feed(boards, make_record()).findall(f"{ATOM}entry") == []


def test_feed_holds_the_newest_entries_alone(boards: Path) -> None:
    days = [f"{2000 + at}-01-01" for at in range(FEED_ENTRIES + 3)]
    root = feed(boards, *[make_record(seed=at, submission={"date": day}) for at, day in enumerate(days)])
    found = texts(root, "entry", "updated")
    assert (len(found), found[0]) == (FEED_ENTRIES, f"{days[-1]}T00:00:00Z")


def test_entry_of_the_feed_links_to_its_first_runs_and_to_the_file_of_all(boards: Path) -> None:
    root = feed(boards, *[make_record(seed=at, submission=DAY) for at in range(FEED_RUNS + 2)])
    links = [str(link.get("href")) for link in root.iter(f"{XHTML}a")]
    assert (len(links), links[-1]) == (FEED_RUNS + 1, "changes.csv")
    assert f"{FEED_RUNS + 2} runs added" in texts(root, "entry", "title")[0]


def test_hostile_words_of_a_record_leave_page_and_feed_whole(boards: Path) -> None:
    words = '</div></content><script>alert("x")</script>&\uffff'
    checked = {"state": "disputed", "by": words, "note": words, "date": "2024-04-01"}
    record = make_record(
        student__name=words, run_id="hostile", submission=DAY | {"author": words, "verification": checked}
    )
    root = feed(boards, record)
    assert not list(root.iter(f"{XHTML}script"))
    assert len(root.findall(f"{ATOM}entry")) == 2
    assert "<script>alert" not in page(boards)


def test_same_records_give_the_same_bytes_whatever_the_order_they_were_written_in(tmp_path: Path) -> None:
    records = trio([10, 11, 12], submission=DAY)
    made = []
    for name, order in (("a", records), ("b", records[::-1])):
        write_board(tmp_path / name)
        write_records(tmp_path / name, order)
        plan = plan_site(tmp_path / name)
        made.append((plan["changelog.html"](), plan["feed.xml"]()))
    assert made[0] == made[1]


# --- address -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('url = "javascript:alert(1)"', "url is 'javascript:alert\\(1\\)'; expected an http or https address"),
        ("url = 3", "url is 3"),
        ('adress = ""', "unknown key 'adress'; known: url"),
        ("url =", "cannot be read"),
    ],
)
def test_address_that_cannot_be_meant_is_refused(boards: Path, text: str, said: str) -> None:
    (boards / "site.toml").write_text(text)
    with pytest.raises(BoardError, match=rf"site\.toml: {said}"):
        site_url(boards)
