"""Files that are begun anew when they are large, with several writers."""

from __future__ import annotations

from pathlib import Path

from stream.sinks.append import AppendFile
from stream.sinks.rotation import Rotation


def written(folder: Path) -> list[str]:
    """All lines there are, oldest file first."""
    names = ["lines.3.txt", "lines.2.txt", "lines.1.txt", "lines.txt"]
    return "".join((folder / name).read_text() for name in names if (folder / name).exists()).splitlines()


def test_no_line_is_lost_or_torn_where_two_write_and_the_oldest_part_goes(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    files = [AppendFile(path, lambda: 0.0, Rotation(max_bytes=100, keep=3)) for _ in range(2)]
    for file in files:
        file.open()
    for number in range(60):
        files[number % 2].append(f"line {number:03}\n")
        files[number % 2].flush()
    for file in files:
        file.close()
    kept = written(tmp_path)
    assert kept == [f"line {number:03}" for number in range(60 - len(kept), 60)]
    assert len(list(tmp_path.iterdir())) == 4
    assert all(each.stat().st_size <= 110 for each in tmp_path.iterdir())


def test_a_file_that_somebody_took_away_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    file = AppendFile(path, lambda: 0.0, Rotation(max_bytes=100, keep=1))
    file.open()
    path.unlink()
    file.append("after\n")
    file.close()
    assert path.read_text() == "after\n"
