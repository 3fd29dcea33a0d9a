import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from yolo_edge.ondevice import files
from yolo_edge.ondevice.errors import InputError, YoloEdgeError
from yolo_edge.ondevice.files import check_output_folder, check_readable, read_bytes, write_atomically


def test_reads_within_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"12345")
    assert check_readable(path) == 5
    assert read_bytes(path, 5) == b"12345"
    with pytest.raises(InputError, match="5 bytes, more than the 4"):
        read_bytes(path, 4)


def test_says_why_a_file_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    for name, message in {
        "missing": "no such file",
        "empty": "the file is empty",
        ".": "is a folder",
        "pipe": "is not a regular file",
        "empty/below": "not a directory",
        "n" * 300: "name too long",
        "nul\0": "not a file name",
    }.items():
        with pytest.raises(InputError, match=message):
            check_readable(str(tmp_path / name))


def test_writes_whole_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_what_is_no_file_is_not_written_over(tmp_path: Path) -> None:
    # for root, a rename would put a file in the place of a device
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    link = tmp_path / "link"
    link.symlink_to("/dev/null")
    for path, message in (pipe, "not a regular file"), (link, "not a regular file"), (tmp_path, "is a folder"):
        with pytest.raises(InputError, match=message):
            write_atomically(path, b"x")
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert sorted(tmp_path.iterdir()) == [link, pipe]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail(descriptor: int) -> None:
        raise error

    monkeypatch.setattr(files.os, "fsync", fail)
    expected = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else YoloEdgeError
    with pytest.raises(expected) as raised:
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    if isinstance(error, OSError):  # a failed job, not bad input
        assert raised.value.exit_code == 1  # type: ignore[attr-defined]
        assert "no space left" in str(raised.value)


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    check_output_folder(tmp_path / "may" / "be" / "made")
    assert not (tmp_path / "may").exists()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="is not a folder"):
            check_output_folder(path)
        with pytest.raises(InputError):
            write_atomically(path / "x", b"x")
    with pytest.raises(InputError, match="name too long"):
        check_output_folder(tmp_path / ("n" * 300))


@contextmanager
def somebody_else() -> Iterator[None]:
    """Root may do everything: be nobody for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_no_permission(tmp_path: Path) -> None:
    locked, folder = tmp_path / "locked", tmp_path / "folder"
    locked.write_bytes(b"x")
    locked.chmod(0)
    folder.mkdir(mode=0o555)
    for parent in [tmp_path, *tmp_path.parents]:
        if "pytest-of-" in str(parent):
            parent.chmod(parent.stat().st_mode | 0o055)
    with somebody_else():
        with pytest.raises(InputError, match=r"locked: permission denied"):
            check_readable(locked)
        with pytest.raises(InputError, match=r"folder/x: cannot be written \(permission denied\)"):
            write_atomically(folder / "x", b"x")
        if os.getuid() != 0:  # access() asks for the real user
            with pytest.raises(InputError, match="permission denied"):
                check_output_folder(folder)
