"""Names of pages: safe anywhere, stable, and never shared."""

from __future__ import annotations

import re

import pytest

from kdbench.leaderboard.pagenames import method_name, plugin_name, safe_name, teacher_name

ODD = ["a b", "A", "a", "a-b", "a (r=0.5)", "a (r=0,5)", "../../x", "", "日本", "con", "x" * 200, "x" * 201, "a.b"]


def test_a_plain_name_is_its_own() -> None:
    assert method_name("soft_kd-2") == "methods/soft_kd-2.html"
    assert teacher_name("broad") == "teachers/broad.html"
    assert plugin_name("methods", "soft") == "plugins/methods-soft.html"


@pytest.mark.parametrize("name", ODD)
def test_a_name_is_safe_in_a_path_and_an_address(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9_-]+(\.[0-9a-f]{12})?", safe_name(name))
    assert len(safe_name(name)) <= 73


def test_no_two_things_share_a_name_even_where_case_does_not_count() -> None:
    known = [*ODD, *(safe_name(name) for name in ODD)]
    assert len({safe_name(name).lower() for name in known}) == len(set(known))


def test_a_name_that_means_a_device_somewhere_is_not_used() -> None:
    assert safe_name("con") != "con"
    assert safe_name("contrast") == "contrast"
