"""Unpacking: what the data sets ship is unpacked as class folders, what could do harm is refused."""

from __future__ import annotations

import binascii
import builtins
import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from kdbench.data.archives import is_archive, unpack
from kdbench.errors import DataError

Files = Mapping[str, bytes]
LINK = stat.S_IFLNK | 0o777
UCF = {
    "UCF-101/": b"",
    "UCF-101/YoYo/": b"",
    "UCF-101/YoYo/v_YoYo_g01_c01.avi": b"one",
    "UCF-101/Biking/v_Biking_g05_c02.avi": b"two",
    "UCF-101/readme.pdf": b"no",
    "UCF-101/.DS_Store.avi": b"no",
}
UNPACKED = {"Biking/v_Biking_g05_c02.avi": b"two", "YoYo/v_YoYo_g01_c01.avi": b"one"}


def zipped(files: Files, mode: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def tarred(files: Files, mode: str = "w", kind: bytes = tarfile.REGTYPE) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            info.type = tarfile.DIRTYPE if name.endswith("/") else kind
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            info.linkname = content.decode("latin-1") if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def rarred(files: Files, mode: int = 0) -> bytes:
    """A rar archive (format of version 4) whose files are stored as they are: marker, main block, files, end."""
    blocks = [b"Rar!\x1a\x07\x00", _rar_block(0x73, 0, bytes(6))]
    for name, content in files.items():
        folder = name.endswith("/")
        unix_mode = mode or (0o40755 if folder else 0o100644)
        fields = struct.pack(
            "<IIBIIBBHI",
            *(len(content), len(content), 3, binascii.crc32(content), 0x5A21_0000, 20, 0x30, len(name.rstrip("/"))),
            unix_mode,
        )
        flags = 0x8000 | (0xE0 if folder else 0)
        blocks.append(_rar_block(0x74, flags, fields + name.rstrip("/").encode()) + content)
    return b"".join([*blocks, _rar_block(0x7B, 0x4000, b"")])


def _rar_block(kind: int, flags: int, fields: bytes) -> bytes:
    head = struct.pack("<BHH", kind, flags, 7 + len(fields)) + fields
    return struct.pack("<H", binascii.crc32(head) & 0xFFFF) + head


FORMATS: dict[str, Callable[[Files], bytes]] = {
    "zip": zipped,
    "tar": tarred,
    "tar.gz": lambda files: tarred(files, "w:gz"),
    "tar.bz2": lambda files: tarred(files, "w:bz2"),
    "tar.xz": lambda files: tarred(files, "w:xz"),
    "rar": rarred,
}


@pytest.fixture(params=FORMATS)
def pack(request: pytest.FixtureRequest) -> Callable[[Files], bytes]:
    if request.param == "rar":
        pytest.importorskip("libarchive")
    return FORMATS[request.param]


def quiet(done: int, total: int, name: str) -> None:
    pass


def unpacked(content: bytes, folder: Path) -> dict[str, bytes]:
    """The files that unpacking an archive leaves, by their place in the target folder."""
    archive = folder / "set"
    archive.write_bytes(content)
    target = unpack(archive, folder / "videos", quiet)
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}


def refusal(content: bytes, folder: Path) -> str:
    """The message unpacking an archive is refused with; nothing may have been written outside the target."""
    with pytest.raises(DataError) as caught:
        unpacked(content, folder)
    assert {path.name for path in folder.iterdir()} <= {"set", "videos"}
    return str(caught.value)


def test_videos_come_out_in_class_folders_and_nothing_else(pack: Callable[[Files], bytes], tmp_path: Path) -> None:
    assert unpacked(pack(UCF), tmp_path) == UNPACKED


def test_an_archive_for_each_class_is_unpacked_too(pack: Callable[[Files], bytes], tmp_path: Path) -> None:
    name = "Golf_Tips_-_Hit_300+_Yards!!!_golf_f_nm_np1_fr_med_0.avi"
    classes = {
        "golf.rar": pack({f"golf/{name}": b"one"}),
        "wave.rar": pack({"b(1)_wave_u_cm_np1_fr_med_0.avi": b"two"}),
    }
    assert unpacked(pack(classes), tmp_path) == {
        f"golf/{name}": b"one",
        "wave/b(1)_wave_u_cm_np1_fr_med_0.avi": b"two",
    }


@pytest.mark.parametrize("name", ["../a.avi", "x/../../a.avi", "/tmp/a.avi", "C:/a.avi", "..\\a.avi"])
def test_a_name_that_leads_out_is_refused(pack: Callable[[Files], bytes], tmp_path: Path, name: str) -> None:
    assert "leads out of the archive's folder" in refusal(pack({name: b"bad"}), tmp_path)


def test_a_name_that_leads_out_of_an_inner_archive_is_refused(pack: Callable[[Files], bytes], tmp_path: Path) -> None:
    assert "leads out" in refusal(pack({"a.zip": pack({"../../a.avi": b"bad"})}), tmp_path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (zipped({"walk/a.avi": b"/etc/passwd"}, LINK), "link"),
        (zipped({"walk/a.avi": b""}, stat.S_IFCHR), "device"),
        (tarred({"walk/a.avi": b"/etc/passwd"}, kind=tarfile.SYMTYPE), "link"),
        (tarred({"walk/a.avi": b"/etc/passwd"}, kind=tarfile.LNKTYPE), "link"),
        (tarred({"walk/a.avi": b""}, kind=tarfile.CHRTYPE), "device"),
        (tarred({"walk/a.avi": b""}, kind=tarfile.FIFOTYPE), "device"),
        (rarred({"walk/a.avi": b"/etc/passwd"}, LINK), "link"),
    ],
    ids=["zip link", "zip device", "tar symbolic link", "tar hard link", "tar device", "tar pipe", "rar link"],
)
def test_an_entry_that_is_no_plain_file_is_refused(tmp_path: Path, content: bytes, kind: str) -> None:
    if content.startswith(b"Rar!"):
        pytest.importorskip("libarchive")
    assert f"'walk/a.avi' is a {kind}" in refusal(content, tmp_path)


def test_a_second_call_writes_only_what_is_missing(pack: Callable[[Files], bytes], tmp_path: Path) -> None:
    assert unpacked(pack(UCF), tmp_path) == UNPACKED
    kept, lost = (tmp_path / "videos" / place for place in UNPACKED)
    before = kept.stat().st_mtime_ns
    lost.unlink()
    assert unpacked(pack(UCF), tmp_path) == UNPACKED
    assert kept.stat().st_mtime_ns == before


def test_a_file_of_another_size_is_written_again(pack: Callable[[Files], bytes], tmp_path: Path) -> None:
    (tmp_path / "videos/YoYo").mkdir(parents=True)
    (tmp_path / "videos/YoYo/v_YoYo_g01_c01.avi").write_bytes(b"h")
    assert unpacked(pack(UCF), tmp_path) == UNPACKED


def test_a_truncated_archive_is_an_error_and_leaves_no_part(pack: Callable[[Files], bytes], tmp_path: Path) -> None:
    content = pack({f"walk/{number}.avi": bytes(range(256)) * 300 for number in range(3)})
    refusal(content[: len(content) * 2 // 3], tmp_path)
    sizes = {path.stat().st_size for path in (tmp_path / "videos").rglob("*") if path.is_file()}
    assert sizes <= {256 * 300}


def test_two_files_for_one_place_are_an_error(pack: Callable[[Files], bytes], tmp_path: Path) -> None:
    message = refusal(pack({"a/walk/x.avi": b"one", "b/walk/x.avi": b"two"}), tmp_path)
    assert "would both become" in message


def test_an_archive_without_videos_is_an_error(pack: Callable[[Files], bytes], tmp_path: Path) -> None:
    assert "holds no file of a kind that is kept" in refusal(pack({"a/readme.pdf": b"x"}), tmp_path)


def test_a_file_that_is_no_archive_is_an_error(tmp_path: Path) -> None:
    assert "is no zip, tar or rar archive" in refusal(b"just text", tmp_path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        unpack(tmp_path / "none.zip", tmp_path, quiet)


def test_an_encrypted_zip_is_an_error(tmp_path: Path) -> None:
    content = bytearray(zipped({"walk/a.avi": b"secret"}))
    content[6] |= 1  # the flag in the file's own header
    content[content.rindex(b"PK\x01\x02") + 8] |= 1  # and in the directory
    assert "is damaged or cannot be read" in refusal(bytes(content), tmp_path)


def test_archives_within_archives_within_archives_are_refused(tmp_path: Path) -> None:
    inner = zipped({"walk/a.avi": b"x"})
    assert "unpack it by hand" in refusal(zipped({"a.zip": zipped({"b.zip": inner})}), tmp_path)


def test_progress_counts_the_files(tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(zipped(UCF))
    seen: list[tuple[int, int, str]] = []
    unpack(tmp_path / "set.zip", tmp_path / "videos", lambda *step: seen.append(step))
    assert [done for done, _, _ in seen] == [1, 2]


def test_without_the_rar_reader_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **more: Any) -> Any:
        if name.startswith("libarchive"):
            raise ImportError(name)
        return real(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert "pip install 'kdbench[rar]'" in refusal(rarred(UCF), tmp_path)


def test_kinds_are_known_by_content_and_not_by_name(tmp_path: Path) -> None:
    for name, content, archive in (("a.avi", zipped(UCF), True), ("a.zip", b"text", False), ("a", rarred({}), True)):
        (tmp_path / name).write_bytes(content)
        assert is_archive(tmp_path / name) == archive
    assert not is_archive(tmp_path)


def test_a_rar_that_libarchive_does_not_know_names_another_way(tmp_path: Path) -> None:
    pytest.importorskip("libarchive")
    content = bytearray(rarred({"walk/a.avi": b"x"}))
    content[7:20] = _rar_block(0x73, 0x0080, bytes(6))  # the flag of encrypted headers
    message = refusal(bytes(content), tmp_path)
    assert "unpack it by hand (unrar x) and name the folder" in message
    assert "archive_p" not in message
