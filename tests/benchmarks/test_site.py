"""What a build of the site costs when many people take part: 10,000 records in 20 s of two cores and 1.5 GB.

500 records take 12 MB.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from kdbench.leaderboard.site import render_site
from tests.leaderboard.crowd import write_crowd

RECORDS, BOARDS, PROCESSES = 1000, ("a", "b", "c"), 2
CPU_S_PER_1000 = 4.0  # of all processes: 20 s of two cores for ten times as many
PEAK_MIB = 400  # the interpreter and its libraries take about 100 in each of three processes

BYTES_PER_RECORD = 24_000  # of 500 on one board, all pages and tables included


class Cost(NamedTuple):
    """What a build took: seconds of processors, of all processes, and the memory of all, as if at one moment."""

    cpu_s: float
    peak_mib: float


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_build_of_1000_records_is_quick_and_small(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    write_crowd(tmp_path / "boards", RECORDS, BOARDS)
    cost = benchmark.pedantic(cost_of_building, args=(tmp_path / "boards", tmp_path / "site"), rounds=1)
    benchmark.extra_info["cpu_s_per_1000"] = 1000 * cost.cpu_s / RECORDS
    benchmark.extra_info["peak_mib"] = cost.peak_mib
    assert 1000 * cost.cpu_s / RECORDS < CPU_S_PER_1000
    assert cost.peak_mib < PEAK_MIB


def test_a_site_of_500_records_takes_at_most_12_mb(tmp_path: Path) -> None:
    write_crowd(tmp_path, 500)
    assert sum(map(len, render_site(tmp_path).values())) <= 500 * BYTES_PER_RECORD


def cost_of_building(boards: Path, out: Path) -> Cost:
    """Build in a process of its own, without what it takes to import the libraries."""
    program = (
        "import resource, sys; from pathlib import Path; from kdbench.leaderboard.site import build_site\n"
        "def seconds():\n"
        "    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]\n"
        "    return sum(each.ru_utime + each.ru_stime for each in used)\n"
        "begin = seconds()\n"
        f"build_site(Path(sys.argv[1]), Path(sys.argv[2]), processes={PROCESSES})\n"
        "lines = Path('/proc/self/status').read_text().splitlines()\n"
        "own = next(int(line.split()[1]) for line in lines if line.startswith('VmHWM:'))\n"
        "largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
        f"print(seconds() - begin, (own + {PROCESSES} * largest) / 1024)\n"
    )
    command = [sys.executable, "-c", program, str(out), str(boards)]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return Cost(*map(float, printed.split()))
