"""What a run learns from and is tested on."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from kdbench.data.material import open_material
from kdbench.errors import DataError
from tests.tiny import access, tiny_board


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the name of a file is text")
def test_a_video_whose_name_is_no_text_is_named(tmp_path: Path) -> None:
    for path in (b"a/1.avi", b"a/2.avi", b"b/\xff.avi"):
        place = os.fsencode(tmp_path) + b"/" + path
        os.makedirs(os.path.dirname(place), exist_ok=True)  # noqa: PTH103, PTH120
        open(place, "wb").close()  # noqa: PTH123
    board = tiny_board(data={"dataset": "folder", "options": {"test_groups": ["a/1"]}}, transfer=None)
    said = re.escape(f"{tmp_path}: the name of video 'b/\\udcff' is not UTF-8; rename its file")
    with pytest.raises(DataError, match=said):
        open_material(board, 1.0, access(videos={"folder": tmp_path}))
