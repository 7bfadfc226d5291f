"""Where things lie on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdbench.data.places import home
from kdbench.errors import DataError


def test_home_is_the_folder_that_the_environment_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KDBENCH_HOME", str(tmp_path))
    assert home() == tmp_path


@pytest.mark.parametrize("named", [None, ""])
def test_home_is_in_the_users_cache_where_none_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, named: str | None
) -> None:
    monkeypatch.delenv("KDBENCH_HOME")
    if named is not None:
        monkeypatch.setenv("KDBENCH_HOME", named)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home() == tmp_path / ".cache" / "kdbench"


def test_a_user_who_is_not_known_is_told_to_name_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KDBENCH_HOME", "~no.such.user/x")
    with pytest.raises(DataError, match=r"^~no\.such\.user/x: no such user's folder is known here; set KDBENCH_HOME"):
        home()
