"""What a user may name as a source."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.errors import SourceError
from stream.sources.listing import expand


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.mp4", "a.MKV", "notes.md", "c.avi"):
        (tmp_path / name).touch()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "b.mp4").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*arguments: str) -> list[str]:
    return [listed.name for listed in expand(arguments)]


def test_a_folder_means_its_videos_in_order(folder: Path) -> None:
    assert names(str(folder)) == ["a.MKV", "b.mp4", "c.avi"]


def test_a_pattern_means_its_matches(folder: Path) -> None:
    assert names("*.mp4") == ["b.mp4"]
    assert names(f"{folder}/**/*.mp4") == ["folder_b.mp4".replace("folder", folder.name), "inner_b.mp4"]


def test_a_list_names_files_beside_it_and_may_have_comments(folder: Path) -> None:
    (folder / "inner" / "list.txt").write_text("# two clips\nb.mp4\n\n../c.avi\n")
    assert [listed.path.resolve() for listed in expand(["inner/list.txt"])] == [
        folder / "inner/b.mp4",
        folder / "c.avi",
    ]


def test_the_same_file_twice_is_read_once(folder: Path) -> None:
    assert names("b.mp4", "./b.mp4", str(folder / "b.mp4")) == ["b.mp4"]


def test_files_of_the_same_name_are_told_apart(folder: Path) -> None:
    found = names("b.mp4", "inner/b.mp4")
    assert len(set(found)) == 2


def test_a_file_is_taken_whatever_it_is_called_and_checked_later(folder: Path) -> None:
    assert names("notes.md", "missing.mp4") == ["notes.md", "missing.mp4"]


def test_a_file_with_brackets_in_its_name_is_no_pattern(folder: Path) -> None:
    (folder / "clip[1].mp4").touch()
    assert names("clip[1].mp4") == ["clip[1].mp4"]


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("*.webm", "no file matches"),
        ("rtsp://camera/stream", "is no recorded file"),
        ("0", "webcam 0 is no recorded file"),
        ("empty.txt", "names no source"),
        ("a\0.mp4", "no path"),
        ("inn*", "no file matches"),
        ("x" * 300 + ".mp4", "cannot be read: file name too long"),
        ("itself.txt", "names another list"),
    ],
)
def test_what_means_nothing_is_refused(folder: Path, argument: str, words: str) -> None:
    (folder / "empty.txt").write_text("# nothing\n")
    (folder / "itself.txt").write_text("b.mp4\nitself.txt\n")
    with pytest.raises(SourceError, match=words):
        expand([argument])


def test_no_two_names_begin_alike_for_outputs_are_named_after_that(folder: Path) -> None:
    for name in ("c.mp4", "C.mkv", "c_2.avi"):
        (folder / name).touch()
    found = names("c.mp4", "c.avi", "C.mkv", "c_2.avi")
    assert found == ["c.mp4", "c_2.avi", "C_3.mkv", "c_2_2.avi"]


def test_a_folder_that_may_not_be_read_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path) -> Iterator[Path]:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", forbidden)  # root may read everything, so no real folder will do
    with pytest.raises(SourceError, match="inner cannot be read: permission denied"):
        expand(["inner"])


def test_a_user_nobody_knows_is_part_of_a_name(folder: Path) -> None:
    assert names("~nobody-of-that-name/a.mp4") == ["a.mp4"]
