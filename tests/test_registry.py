"""The registry loads plugins one by one, refuses the broken ones with a reason, and reads options."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import kdbench
from kdbench.errors import PluginError
from kdbench.registry import KINDS, Origin, Registered, Registry, fault_of, load_registry

METHOD = '''
"""A method for tests."""
from dataclasses import dataclass
from typing import Literal
from kdbench.api import Method, hookimpl

class Mine(Method):
    """Adds nothing."""
    name = "{name}"

    @dataclass(frozen=True, kw_only=True)
    class Options:
        temperature: float = 4.0
        weight: float = 1.0
        steps: int = 3
        sharp: bool = False
        label: str = "a"
        stages: tuple[str, ...] = ("stage4",)
        pair: tuple[int, float] = (1, 2.0)
        limit: int | None = None
        mode: Literal["mean", "sum"] = "mean"

@hookimpl
def kdbench_methods():
    return [Mine]
'''

CLASS = """
from dataclasses import dataclass
from kdbench.api import Backbone, Method, hookimpl
{body}
@hookimpl
def kdbench_{kind}():
    return {classes}
"""

# What is wrong -> (the file, words of the reason)
BROKEN = {
    "import error": ("import nothing_of_this_name", "No module named 'nothing_of_this_name' ({file}, line 1)"),
    "syntax error": ("def :", "SyntaxError"),
    "exit on import": ("raise SystemExit(3)", "exits on import (code 3)"),
    "no hook": ("x = 1", "implements no hook; mark one of kdbench_backbones"),
    "unknown hook": (
        "from kdbench.api import hookimpl\n@hookimpl\ndef kdbench_method(): return []",
        "unknown hook 'kdbench_method'; did you mean 'kdbench_methods'? known: kdbench_backbones, ",
    ),
    "wrong signature": (
        "from kdbench.api import hookimpl\n@hookimpl\ndef kdbench_methods(board): return []",
        "definition: kdbench_methods(board)",
    ),
    "hook that fails": (
        "from kdbench.api import hookimpl\n@hookimpl\ndef kdbench_methods(): return 1 / 0",
        "ZeroDivisionError: division by zero ({file}, line 3)",
    ),
    "no list": (CLASS.format(body="", kind="methods", classes="3"), "kdbench_methods() returned int"),
    "an object": (CLASS.format(body="", kind="methods", classes="[3]"), "must return classes, not objects"),
    "class of another kind": (
        CLASS.format(body="class A(Method): name = 'a'", kind="backbones", classes="[A]"),
        "returned A; it must be a subclass of kdbench.api.Backbone",
    ),
    "no name": (CLASS.format(body="class A(Method): pass", kind="methods", classes="[A]"), "A has no name"),
    "name that is no word": (
        CLASS.format(body="class A(Method): name = 'My Method'", kind="methods", classes="[A]"),
        "A.name is 'My Method'; use lower-case letters",
    ),
    "abstract class": (
        CLASS.format(body="class A(Backbone): name = 'a'", kind="backbones", classes="[A]"),
        "A does not define build, which every backbone must",
    ),
    "one name twice": (
        CLASS.format(body="class A(Method): name = 'a'", kind="methods", classes="[A, A]"),
        "two methods call themselves 'a'",
    ),
    "options not frozen": (
        CLASS.format(
            body="class A(Method):\n  name = 'a'\n  @dataclass\n  class Options:\n    x: int = 1",
            kind="methods",
            classes="[A]",
        ),
        "A.Options must be a frozen dataclass",
    ),
    "option without a default": (
        CLASS.format(
            body="class A(Method):\n  name = 'a'\n  @dataclass(frozen=True)\n  class Options:\n    x: int",
            kind="methods",
            classes="[A]",
        ),
        "A.Options.x has no default",
    ),
    "default of another type": (
        CLASS.format(
            body="class A(Method):\n  name = 'a'\n  @dataclass(frozen=True)\n  class Options:\n    x: int = 0.5",
            kind="methods",
            classes="[A]",
        ),
        "the default of A.Options.x is 0.5 but its type is int",
    ),
    "option of an unknown type": (
        CLASS.format(
            body="class A(Method):\n  name = 'a'\n  @dataclass(frozen=True)\n  class Options:\n    x: 'Nix' = 1",
            kind="methods",
            classes="[A]",
        ),
        "A.Options has a type that is not known: name 'Nix' is not defined",
    ),
    "option of a type without words": (
        CLASS.format(
            body="class A(Method):\n  name = 'a'\n  @dataclass(frozen=True)\n  class Options:\n    x: list = ()",
            kind="methods",
            classes="[A]",
        ),
        "an option is a bool, int, float, str",
    ),
}


def plugin_file(folder: Path, text: str, stem: str = "mine") -> Path:
    """A plugin file; folders keep apart files of one name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.py"
    path.write_text(text)
    return path


def installed(folder: Path, text: str, module: str, distribution: str = "acme-kd") -> None:
    """A distribution with one entry point, as pip would leave it in `folder`."""
    plugin_file(folder, text, module)
    info = folder / f"{distribution.replace('-', '_')}-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text(f"[kdbench]\n{module} = {module}\n")


@pytest.fixture
def mine(tmp_path: Path) -> Registered:
    registry = load_registry([plugin_file(tmp_path, METHOD.format(name="mine"))])
    return registry.get("methods", "mine")


def test_every_plugin_of_the_tree_loads() -> None:
    assert load_registry().broken == []


def test_the_tree_has_plugins_of_each_kind_it_needs() -> None:
    registry = load_registry()
    assert [kind for kind in KINDS[:4] if not registry.names(kind)] == []


def test_two_loads_give_the_same_plugins_in_the_same_order() -> None:
    assert list(load_registry().all()) == list(load_registry().all())


def test_a_plugin_of_the_tree_knows_where_it_comes_from() -> None:
    plugin = next(load_registry().all())
    assert (plugin.origin.distribution, plugin.origin.version) == ("kdbench", kdbench.__version__)
    assert plugin.origin.sha256 == hashlib.sha256(plugin.origin.file.read_bytes()).hexdigest()
    assert str(plugin.origin).startswith("plugins/backbones/")


def test_a_given_file_is_loaded(mine: Registered, tmp_path: Path) -> None:
    file = (tmp_path / "mine.py").resolve()
    assert mine.origin == Origin(file, "file", "", hashlib.sha256(file.read_bytes()).hexdigest())
    assert mine.summary == "Adds nothing."


def test_an_unchanged_file_keeps_its_class_and_a_changed_one_is_loaded_anew(mine: Registered, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    assert load_registry([file]).get("methods", "mine").cls is mine.cls
    file.write_text(METHOD.format(name="mine") + "# changed\n")
    assert load_registry([file]).get("methods", "mine").cls is not mine.cls


def test_a_file_of_the_tree_may_be_given_too() -> None:
    plugin = next(load_registry().all())
    assert list(load_registry([plugin.origin.file]).all()) == list(load_registry().all())


def test_a_file_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"gone\.py: no such file"):
        load_registry([tmp_path / "gone.py"])


def test_a_file_that_is_no_python_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(PluginError, match=r"must end in \.py"):
        load_registry([tmp_path / "mine.txt"])


def test_a_plugin_of_an_installed_distribution_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, METHOD.format(name="acme"), "acme_plugin_found")
    monkeypatch.syspath_prepend(str(tmp_path))
    origin = load_registry().get("methods", "acme").origin
    assert (origin.distribution, origin.version) == ("acme-kd", "0.3")


@pytest.mark.parametrize("problem", BROKEN)
def test_a_broken_installed_plugin_is_listed_and_breaks_nothing(
    problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, reason = BROKEN[problem]
    module = f"acme_{problem.replace(' ', '_')}"
    whole, reason = list(load_registry().all()), reason.replace("{file}", f"{module}.py")
    installed(tmp_path, text, module)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = load_registry()
    assert list(registry.all()) == whole
    assert [(reason in broken.reason, "(acme-kd 0.3)" in broken.where) for broken in registry.broken] == [(True, True)]
    assert "\n" not in registry.broken[0].reason


@pytest.mark.parametrize("problem", BROKEN)
def test_a_broken_given_file_is_an_error_with_its_path_and_reason(problem: str, tmp_path: Path) -> None:
    text, reason = BROKEN[problem]
    with pytest.raises(PluginError) as caught:
        load_registry([plugin_file(tmp_path, text)])
    assert str(caught.value).startswith(f"{tmp_path / 'mine.py'}: ")
    assert reason.replace("{file}", "mine.py") in str(caught.value)


def test_broken_plugins_are_errors_when_the_environment_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, "raise SystemExit", "acme_strict")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("KDBENCH_RAISE_PLUGIN_ERRORS", "1")
    with pytest.raises(PluginError, match="acme_strict"):
        load_registry()


def test_the_second_of_two_plugins_of_a_name_is_refused_and_both_are_named(tmp_path: Path) -> None:
    first = plugin_file(tmp_path / "a", METHOD.format(name="mine"))
    second = plugin_file(tmp_path / "b", METHOD.format(name="mine"))
    with pytest.raises(PluginError) as caught:
        load_registry([first, second])
    assert f"two methods call themselves 'mine': {first} and {second}" in str(caught.value)


def test_an_installed_copy_of_a_given_file_is_named_with_what_to_uninstall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path / "site", METHOD.format(name="mine"), "acme_copy")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    file = plugin_file(tmp_path, METHOD.format(name="mine"))
    with pytest.raises(PluginError) as caught:
        load_registry([file])
    assert str(caught.value).endswith(
        f"two methods call themselves 'mine': {tmp_path / 'site' / 'acme_copy.py'} (acme-kd 0.3) and {file}; "
        "they are the same file twice: uninstall acme-kd, or rename one"
    )


def test_the_same_file_given_from_two_places_is_one_too_many(tmp_path: Path) -> None:
    files = [plugin_file(tmp_path / folder, METHOD.format(name="mine")) for folder in ("a", "b")]
    with pytest.raises(PluginError, match="they are the same file twice: give one of the two, or rename one"):
        load_registry(files)


def test_a_name_of_the_tree_cannot_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = load_registry().names("methods")[0]
    installed(tmp_path, METHOD.format(name=taken), "acme_taken")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = load_registry()
    assert registry.get("methods", taken).origin.distribution == "kdbench"
    assert "(kdbench " in registry.broken[0].reason
    assert "(acme-kd 0.3)" in registry.broken[0].reason


# --- plugins that fail when they are used ------------------------------------------------------------------

FAILING = METHOD.replace(
    """    @dataclass""",
    """    def losses(self, batch, student, teacher, progress):
        return student["stage9"]

    @dataclass""",
    1,
)


def failure_of(plugin: Registered) -> Exception:
    with pytest.raises(KeyError) as caught:
        plugin.make({}).losses(None, {}, None, None)
    return caught.value


def test_an_error_in_a_given_file_is_told_with_file_line_and_the_way_out(tmp_path: Path) -> None:
    file = plugin_file(tmp_path, FAILING.format(name="mine"))
    error = failure_of(load_registry([file]).get("methods", "mine"))
    line = 1 + file.read_text().splitlines().index('        return student["stage9"]')
    assert fault_of(error) == (
        f"plugin {file}:{line}: KeyError: 'stage9'; run `kdbench plugins check {file}`; "
        "KDBENCH_RAISE_PLUGIN_ERRORS=1 shows the whole traceback"
    )


def test_an_error_in_an_installed_plugin_is_told_with_its_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, FAILING.format(name="acme"), "acme_failing")
    monkeypatch.syspath_prepend(str(tmp_path))
    said = fault_of(failure_of(load_registry().get("methods", "acme")))
    assert said is not None
    assert said.startswith(f"plugin of acme-kd, {tmp_path / 'acme_failing.py'}:")
    assert "run `kdbench plugins check acme-kd`" in said


def test_an_error_that_no_foreign_plugin_led_to_is_nobodys_fault_but_ours() -> None:
    registry = load_registry()
    with pytest.raises(TypeError) as caught:
        registry.get("methods", registry.names("methods")[0]).cls.losses()
    assert fault_of(caught.value) is None


def test_a_traceback_that_was_asked_for_is_not_replaced_by_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = failure_of(load_registry([plugin_file(tmp_path, FAILING.format(name="mine"))]).get("methods", "mine"))
    monkeypatch.setenv("KDBENCH_RAISE_PLUGIN_ERRORS", "1")
    assert fault_of(error) is None


def test_a_class_whose_init_takes_no_options_is_told_what_to_write(tmp_path: Path) -> None:
    text = METHOD.replace("    @dataclass", "    def __init__(self):\n        super().__init__()\n\n    @dataclass", 1)
    file = plugin_file(tmp_path, text.format(name="mine"))
    with pytest.raises(PluginError) as caught:
        load_registry([file]).get("methods", "mine").make({})
    assert str(caught.value).startswith(f"method 'mine' of {file}: Mine.__init__() takes 1 positional argument")
    assert str(caught.value).endswith(
        "write def __init__(self, options), with super().__init__(options) as its first line"
    )


def test_a_file_whose_second_class_is_refused_adds_nothing() -> None:
    registry, origin = Registry(), Origin(Path("x.py"), "file", "", "")
    registry.add([Registered("methods", "a", object, origin)])
    with pytest.raises(PluginError):
        registry.add([Registered("methods", "b", object, origin), Registered("methods", "a", object, origin)])
    assert registry.names("methods") == ["a"]


def test_one_name_may_stand_in_two_kinds() -> None:
    registry, origin = Registry(), Origin(Path("x.py"), "file", "", "")
    registry.add([Registered("methods", "a", object, origin), Registered("backbones", "a", object, origin)])
    assert registry.get("methods", "a").kind == "methods"


def test_what_a_plugin_prints_on_import_is_swallowed_and_noted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = plugin_file(tmp_path, "print('hello')\n" + METHOD.format(name="mine"))
    assert load_registry([file]).get("methods", "mine").notes == ("prints when imported",)
    assert capfd.readouterr().out == ""


def test_a_slow_import_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdbench.registry._SLOW_IMPORT_S", 0.01)
    file = plugin_file(tmp_path, "import time\ntime.sleep(0.06)\n" + METHOD.format(name="mine"))
    (note,) = load_registry([file]).get("methods", "mine").notes
    assert note.startswith("took 0.")


def test_a_broken_plugin_that_was_slow_as_well_is_told_with_its_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdbench.registry._SLOW_IMPORT_S", 0.01)
    with pytest.raises(PluginError, match=r"mine\.py: ZeroDivisionError: .*; took 0\.\d s to import$"):
        load_registry([plugin_file(tmp_path, "import time\ntime.sleep(0.06)\n1 / 0")])


def test_what_an_installed_plugin_prints_on_import_is_swallowed_and_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    installed(tmp_path, "print('hello')\n" + METHOD.format(name="chatty"), "acme_chatty")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load_registry().get("methods", "chatty").notes == ("prints when imported",)
    assert capfd.readouterr().out == ""


def test_an_entry_point_without_a_module_is_listed_and_breaks_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, "", "acme_gone")
    (tmp_path / "acme_gone.py").unlink()
    monkeypatch.syspath_prepend(str(tmp_path))
    (broken,) = load_registry().broken
    assert broken.reason.startswith("ModuleNotFoundError: No module named 'acme_gone'")


def test_an_unknown_name_is_answered_with_the_nearest_and_the_known(mine: Registered, tmp_path: Path) -> None:
    registry = load_registry([tmp_path / "mine.py"])
    with pytest.raises(PluginError, match=r"^no method is called 'mime'; did you mean 'mine'\? known: .*mine"):
        registry.get("methods", "mime")


def test_an_unknown_data_set_is_named_in_plain_english() -> None:
    with pytest.raises(PluginError, match=r"^no data set is called 'x'; known: none$"):
        Registry().get("datasets", "x")


def test_the_name_of_a_broken_plugin_of_the_tree_is_answered_with_its_reason() -> None:
    registry = Registry()
    registry.broken.append(kdbench.registry.Broken("plugins/methods/self_kd.py", "SyntaxError: no"))
    with pytest.raises(PluginError, match=r"'self-kd'; plugins/methods/self_kd\.py is broken: SyntaxError: no; "):
        registry.get("methods", "self-kd")


@pytest.mark.parametrize(
    ("option", "value", "read"),
    [
        ("temperature", "2", 2.0),
        ("temperature", 2, 2.0),
        ("temperature", "1e-3", 1e-3),
        ("steps", "7", 7),
        ("sharp", "true", True),
        ("sharp", "off", False),
        ("sharp", True, True),
        ("label", "3", "3"),
        ("stages", "stage3,stage4", ("stage3", "stage4")),
        ("stages", "", ()),
        ("stages", ["stage3"], ("stage3",)),
        ("pair", "2, 0.5", (2, 0.5)),
        ("limit", "none", None),
        ("limit", "5", 5),
        ("limit", None, None),
        ("mode", "sum", "sum"),
    ],
)
def test_options_are_read_by_their_type(mine: Registered, option: str, value: object, read: object) -> None:
    got = getattr(mine.make({option: value}).options, option)
    assert (got, type(got)) == (read, type(read))


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("temperature", "hot", "'hot'; it must be float"),
        ("temperature", True, "True; it must be float"),
        ("steps", "0.5", "'0.5'; it must be int"),
        ("steps", 0.5, "0.5; it must be int"),
        ("steps", False, "False; it must be int"),
        ("sharp", "maybe", "'maybe'; it must be bool (write true or false)"),
        ("sharp", 1, "1; it must be bool"),
        ("label", 3, "3; it must be str"),
        ("stages", 3, "3; it must be tuple[str, ...]"),
        ("pair", "1,2,3", "'1,2,3'; it must be tuple[int, float] (3 values instead of 2)"),
        ("limit", "x", "'x'; it must be int | None"),
        ("mode", "max", "'max'; it must be one of 'mean', 'sum'"),
    ],
)
def test_a_value_of_the_wrong_type_names_option_value_and_type(
    mine: Registered, option: str, value: object, words: str
) -> None:
    with pytest.raises(PluginError) as caught:
        mine.make({option: value})
    assert str(caught.value) == f"method 'mine': option '{option}' is {words}"


def test_an_unknown_option_is_answered_with_the_nearest_and_the_known(mine: Registered) -> None:
    with pytest.raises(PluginError, match=r"no option 'temprature'; did you mean 'temperature'\? it takes: label, "):
        mine.make({"temprature": "3"})


def test_options_not_given_keep_their_defaults(mine: Registered) -> None:
    assert mine.make({"weight": "2"}).options == mine.cls.Options(weight=2.0)


def test_what_an_options_class_refuses_itself_is_an_error_of_the_user(tmp_path: Path) -> None:
    check = (
        "        def __post_init__(self):\n            if self.steps < 1: raise ValueError('steps must be positive')\n"
    )
    text = METHOD.format(name="mine").replace("\n@hookimpl", f"{check}\n@hookimpl")
    plugin = load_registry([plugin_file(tmp_path, text)]).get("methods", "mine")
    with pytest.raises(PluginError, match=r"^method 'mine': steps must be positive$"):
        plugin.make({"steps": "0"})


def test_the_listing_stays_json_when_a_plugin_prints(tmp_path: Path) -> None:
    file = plugin_file(tmp_path, "print('hello')\n" + METHOD.format(name="mine"))
    command = [sys.executable, "-m", "kdbench", "plugins", "list", "--json", "--plugin", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "mine" in {plugin["name"] for plugin in json.loads(done.stdout)["plugins"]}
