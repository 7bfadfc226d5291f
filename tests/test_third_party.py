"""A stranger's distribution, from its folder to its name in a record: built, installed, found, checked, run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

from kdbench.templates import write_new
from tests.conftest import TINY

FOLDER = Path(__file__).parent / "fixtures" / "acme_kd"
MODULE = "acme_kd.py"


def build(source: Path, folder: Path) -> Path:
    """The wheel of a distribution, built without a network by the backend that is installed here."""
    program = f"from setuptools import build_meta; print(build_meta.build_wheel({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", program], cwd=source, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("build")
    return build(shutil.copytree(FOLDER, folder / "source"), folder)  # setuptools leaves a build folder behind


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment that sees the packages of this one, kdbench among them, and the wheel."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    # As a .pth file, so that its own .pth files (an editable kdbench) are honoured too.
    here = sysconfig.get_path("purelib")
    (site / "beside.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    own = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = [sys.executable, "-m", "pip", "--python", own, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(pip, check=True, capture_output=True)
    return own


def kd(python: Path, *arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", "kdbench", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def read(python: Path, *arguments: str | Path) -> Any:
    done = kd(python, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_is_found_by_its_entry_point_and_listed_with_its_version(python: Path) -> None:
    listed = [each for each in read(python, "plugins", "list")["plugins"] if each["name"] == "acme-logits"]
    assert [(each["distribution"], each["version"]) for each in listed] == [("acme-kd", "0.3.1")]
    assert listed[0]["sha256"] == hashlib.sha256((FOLDER / MODULE).read_bytes()).hexdigest()


@pytest.mark.slow
def test_it_is_checked_by_the_name_of_its_distribution(python: Path) -> None:
    report = read(python, "plugins", "check", "Acme_KD")
    (plugin,) = report["plugins"]
    assert (plugin["name"], report["failed"]) == ("acme-logits", 0)
    assert {check["status"] for check in plugin["checks"]} <= {"passed", "skipped"}


@pytest.mark.slow
def test_its_name_version_and_digest_stand_in_the_record_of_a_run(python: Path, tmp_path: Path) -> None:
    student = ("--student", "c3d", "--teacher", "r3d", "--method", "acme-logits", "-o", "weight=2")
    done = kd(python, "run", "--board", TINY, *student, "--device", "cpu", "--runs", tmp_path)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "tiny").glob("c3d-r3d-acme_logits-*/record.json")
    method = json.loads(file.read_text())["method"]
    assert (
        method
        | {
            "name": "acme-logits",
            "distribution": "acme-kd",
            "version": "0.3.1",
            "sha256": hashlib.sha256((FOLDER / MODULE).read_bytes()).hexdigest(),
            "options": {"weight": 2.0},
        }
        == method
    )


def test_a_new_distribution_can_be_built_and_offers_its_plugin(tmp_path: Path) -> None:
    write_new("method", "fancy-one", tmp_path, package=True)
    with zipfile.ZipFile(build(tmp_path / "kdbench-fancy-one", tmp_path)) as wheel:
        assert "kdbench_fancy_one.py" in wheel.namelist()
        (points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
        assert wheel.read(points).decode().split() == ["[kdbench]", "fancy_one", "=", "kdbench_fancy_one"]


def test_the_environment_without_it_knows_it_not() -> None:
    done = kd(Path(sys.executable), "plugins", "show", "acme-logits")
    assert done.returncode == 1
    assert done.stderr.startswith("kdbench: error: no plugin is called 'acme-logits'")
