"""Boards: reading, refusing, pins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from kdbench.board import Board, board_names, digest_of_pins, load_board, transfer_board
from kdbench.errors import BoardError
from tests.conftest import TINY
from tests.tiny import tiny_board


def written(tmp_path: Path, old: str, new: str) -> str:
    text = TINY.read_text()
    assert old in text
    path = tmp_path / "board.toml"
    path.write_text(text.replace(old, new, 1))
    return str(path)


@pytest.mark.parametrize("name", board_names())
def test_every_board_in_the_tree_can_be_read_and_is_named_after_its_folder(name: str) -> None:
    assert load_board(name).name == name


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("interval = 1", "intervall = 1", "[clip] has no key 'intervall'; did you mean 'interval'? known: length"),
        ("[clip]", "[clips]", "no section is called 'clips'; did you mean 'clip'?"),
        ("length = 8", 'length = "8"', "clip.length: Expected `int`, got `str`"),
        ("length = 8", "length = 0", "clip.length is 0; a clip needs at least 1 frame"),
        ("segments = [2, 2, 2, 2]", "segments = [2, 2, 2, 1]", "add up to 7, not to clip.length 8"),
        ("crop = 16", "crop = 40", "frames.crop 40 is larger than the frame (18 x 24)"),
        ("crop = 16", "crop = 15", "quadrants need an even number of pixels"),
        ("fractions = [1.0, 0.5]", "fractions = [1.0, 1.5]", "matrix.fractions holds 1.5"),
        ("epochs = 3", "epochs = 0", "optim.epochs is 0; it must be at least 1"),
        ("[clip]", "[clip", "cannot be read"),
        ("lr = 0.01", "lr = -1.0", "optim.lr is -1.0; it must be more than 0"),
        ("milestones = [0.75]", "milestones = [62.5]", "optim.milestones[0] is 62.5; it must lie between 0 and 1"),
        ("momentum = 0.9", "momentum = 9.0", "optim.momentum is 9.0"),
        ("segments = [2, 2, 2, 2]", "segments = [10, -2, 0, 0]", "must be positive"),
        ("remote_distance = 2", "remote_distance = -40", "clip.remote_distance is -40"),
        ("negatives = 16", "negatives = 16\ntemperature = 0.0", "objective.temperature is 0.0"),
        ('name = "tiny"', 'name = "../../etc"', "board.name is '../../etc'"),
        ("[augment]", "[augment]\nblur_kernel = 41", "augment.blur_kernel is 41"),
        ("[augment]", "[augment]\nhue = -0.1", "augment.hue is -0.1; it must be 0 or more"),
        ("lr = 0.01", "lr = nan", "optim.lr is nan; it must be finite"),
        (
            "milestones = [0.1, 0.99]",
            "milestones = [0.1, inf]",
            "evaluation.milestones is [0.1, inf]; it must",
        ),
        ("weight_decay = 0.0005", "weight_decay = -1.0", "optim.weight_decay is -1.0; it must be 0 or more"),
        ("milestones = [0.75]", "gamma = -0.1", "optim.gamma is -0.1; it must be 0 or more"),
        ("negatives = 16", "negatives = 16\naction = -1.0", "objective.action is -1.0; it must be 0 or more"),
        ("seeds = [0]", "seeds = [0, -1]", "matrix.seeds[1] is -1; it must be 0 or more"),
        ('students = ["c3d", "r3d", "r2plus1d"]', "students = []", "matrix.students is empty; name at least one"),
        (
            'students = ["c3d", "r3d", "r2plus1d"]',
            "",
            "[matrix] has no 'students', which every board has; `kdbench board",
        ),
    ],
)
def test_a_bad_board_is_refused_with_file_key_and_reason(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = written(tmp_path, old, new)
    with pytest.raises(BoardError) as caught:
        load_board(path)
    assert str(caught.value).startswith(path)
    assert said in str(caught.value)


def test_a_board_without_a_section_is_told_which_and_where_to_look(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text("")
    with pytest.raises(BoardError) as caught:
        load_board(str(path))
    assert str(caught.value) == (
        f"{path}: there is no section [board], which every board has; "
        "`kdbench board explain camarena2024` shows an example of each"
    )


def test_an_unknown_board_is_told_the_nearest_known_one() -> None:
    with pytest.raises(BoardError, match="did you mean camarena2024"):
        load_board("camarena2042")


def test_a_board_can_be_given_by_its_folder(tmp_path: Path) -> None:
    written(tmp_path, "version", "version")
    assert load_board(f"{tmp_path}/").name == "tiny"


def other(value: Any) -> Any:
    """A value of the same type that differs."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, list):
        return [*value, 0]
    return {"changed": 1}


@pytest.mark.parametrize("key", sorted(tiny_board().pins))
def test_changing_any_pin_changes_the_digest(key: str) -> None:
    pins = tiny_board().pins
    assert digest_of_pins({**pins, key: other(pins[key])}) != digest_of_pins(pins)


def test_every_section_but_titles_matrix_and_reasons_is_pinned() -> None:
    sections = {key.partition(".")[0] for key in tiny_board().pins}
    assert sections == set(Board.__struct_fields__) - {"board", "matrix", "why"}


def test_widening_the_matrix_changes_no_pin() -> None:
    assert tiny_board(matrix={"seeds": (0, 1, 2, 3)}).digest == tiny_board().digest


def test_the_span_of_a_tuple_is_that_of_its_clips_and_the_gaps_between_them() -> None:
    assert load_board("camarena2024").clip_span == 46


def test_stages_end_after_a_quarter_three_quarters_and_all_of_the_epochs() -> None:
    assert load_board("camarena2024").stage_epochs == (50, 150, 200)


def test_the_board_of_the_transfer_is_supervised_with_crop_and_flip_only() -> None:
    second = transfer_board(load_board("camarena2024"))
    assert second.objective.kind == "supervised"
    assert (second.augment.jitter, second.augment.grey, second.augment.blur, second.augment.flip) == (0, 0, 0, 0.5)
    assert (second.optim.lr, second.optim.batch, second.optim.epochs) == (0.001, 8, 150)


def test_a_board_without_transfer_says_so() -> None:
    with pytest.raises(BoardError, match=r"no \[transfer\] section"):
        transfer_board(msgspec.structs.replace(tiny_board(), transfer=None))
