"""Where the state folder is, and that it is its owner's only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stream.errors import OutputError
from stream.home import _platform_data_folder, home


def test_the_variable_names_it(tmp_path: Path) -> None:
    chosen = tmp_path / "a" / "b"
    assert home({"VIDEODISCO_HOME": str(chosen)}) == chosen
    assert chosen.is_dir()


def test_a_relative_one_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert home({"VIDEODISCO_HOME": "state"}) == tmp_path / "state"


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_it_is_its_owners_only(tmp_path: Path) -> None:
    assert home({"VIDEODISCO_HOME": str(tmp_path / "new")}).stat().st_mode & 0o777 == 0o700


def test_without_the_variable_it_is_in_the_users_data_folder() -> None:
    user = Path.home()
    assert _platform_data_folder({"XDG_DATA_HOME": "/data"}, "linux") == Path("/data")
    assert _platform_data_folder({"XDG_DATA_HOME": "relative"}, "linux") == user / ".local" / "share"
    assert _platform_data_folder({}, "linux") == user / ".local" / "share"
    assert _platform_data_folder({}, "darwin") == user / "Library" / "Application Support"
    assert _platform_data_folder({"LOCALAPPDATA": "/local"}, "win32") == Path("/local")


def test_a_folder_that_cannot_be_made_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="set VIDEODISCO_HOME to a folder you may write"):
        home({"VIDEODISCO_HOME": str(tmp_path / "file" / "state")})
