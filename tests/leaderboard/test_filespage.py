"""Every column of every table is documented, and every documented column is there."""

from __future__ import annotations

import csv
import gzip
import io
import json
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from kdbench.leaderboard.filespage import CHARTS, FILES, TableFile, meaning
from kdbench.leaderboard.site import render_site
from tests.factories import make_record, trio, write_board, write_records

LICENCE = Path(__file__).parents[2] / "LICENSE"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    boards = tmp_path_factory.mktemp("boards")
    write_board(boards)
    half = [make_record(hits=5, cell__fraction=0.5), make_record(hits=7, taught=True, cell__fraction=0.5)]
    write_records(boards, [*trio([10, 8, 6]), *trio([14, 14, 13], taught=True), *half])
    return render_site(boards)


def names_of(site: dict[str, bytes], file: TableFile) -> list[str]:
    """The files of the site that a documented name stands for."""
    patterns = [name.replace("BOARD", "*").replace("RUN", "*") for name in file.names]
    return [name for name in site if any(fnmatchcase(name, pattern) for pattern in patterns)]


def columns_of(name: str, content: bytes) -> set[str]:
    if name.endswith(".gz"):
        return columns_of(name.removesuffix(".gz"), gzip.decompress(content))
    if name.endswith(".csv"):
        return set(next(csv.reader(io.StringIO(content.decode()))))
    lines = json.loads(content)
    nested = [each for line in lines for each in line.get("milestones", [])]
    return {key for line in [*lines, *nested] for key in line} - {"milestones"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.anchor)
def test_every_column_of_a_file_is_documented(site: dict[str, bytes], file: TableFile) -> None:
    names = names_of(site, file)
    assert names
    unknown = {column for name in names for column in columns_of(name, site[name]) if not meaning(file, column)}
    assert unknown == set(), "say beside the columns what they mean"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.anchor)
def test_no_column_is_documented_that_a_file_does_not_have(site: dict[str, bytes], file: TableFile) -> None:
    for name in names_of(site, file):
        found = columns_of(name, site[name])
        assert [each for each in file.columns if not any(fnmatchcase(column, each) for column in found)] == [], name


def test_every_table_of_the_site_has_its_file_or_its_page(site: dict[str, bytes]) -> None:
    known = {name for file in FILES for name in names_of(site, file)}
    tables = {name for name in site if name.endswith((".csv", ".csv.gz")) and "/cells/" not in name}
    assert tables - known == set()


def test_every_chart_has_its_line_on_the_page_and_every_line_its_chart(site: dict[str, bytes]) -> None:
    patterns = {name.replace("BOARD", "*").replace("CELL", "*"): name for name in CHARTS}
    charts = [name for name in site if name.endswith(".svg")]
    found = {
        name: [documented for pattern, documented in patterns.items() if fnmatchcase(name, pattern)] for name in charts
    }
    assert all(len(documented) == 1 for documented in found.values())
    assert {documented for (documented,) in found.values()} == set(CHARTS)
    assert all(f"<code>{name}</code>" in site["files.html"].decode() for name in CHARTS)


def test_an_undocumented_column_has_no_meaning() -> None:
    assert meaning(FILES[1], "luck") is None
    assert meaning(FILES[1], "epochs_to_0.5")


def test_records_on_the_site_have_the_fields_of_the_schema_beside_them(site: dict[str, bytes]) -> None:
    schema = json.loads(site["record.schema.json"])
    fields = schema["$defs"]["Record"]
    assert 'href="record.schema.json"' in site["files.html"].decode()
    records = [json.loads(gzip.decompress(content)) for name, content in site.items() if name.endswith(".json.gz")]
    assert len(records) == 8
    assert all(set(fields["required"]) <= record.keys() <= fields["properties"].keys() for record in records)


def test_page_names_the_licence_of_kdbench_and_what_to_cite(site: dict[str, bytes]) -> None:
    shown = site["files.html"].decode()
    name, _, kind = LICENCE.read_text(encoding="utf-8").splitlines()[0].partition(" ")
    assert (kind, f"that of kdbench, {name}, as" in shown, 'href="kdbench.bib"' in shown) == ("License", True, True)


def test_every_page_leads_to_the_list_of_files(site: dict[str, bytes]) -> None:
    pages = [content for name, content in site.items() if name.endswith(".html")]
    assert all(b'files.html">all other files</a>' in content for content in pages)
