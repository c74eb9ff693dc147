"""Where runs are logged, and what is wrong with it at first sight."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from stream.errors import UsageError
from stream.telemetry import MlflowSettings
from stream.telemetry.destination import destination, page_of, trouble_with


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    where = destination(MlflowSettings(), tmp_path)
    (tmp_path / "mlflow.db").write_bytes(b"\x13\x37" * 500)
    assert "mlflow.db is not a SQLite database" in trouble_with(where)


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path: Path) -> None:
    where = destination(MlflowSettings(uri=f"sqlite:///{tmp_path}"), tmp_path)
    assert trouble_with(where) == f"{tmp_path} is a folder, not a file; name a file in it"


@pytest.mark.parametrize("uri", ["http://", "https://:5000", "http://[::1", "ftp://lab/runs", "mlflow.db"])
def test_what_is_no_store_is_one_sentence(tmp_path: Path, uri: str) -> None:
    settings = MlflowSettings(uri=uri)
    with pytest.raises(UsageError, match="is no tracking store; give"):
        destination(settings, tmp_path)
    assert page_of(settings) is None


def test_a_store_that_is_new_empty_or_sound_is_no_trouble(tmp_path: Path) -> None:
    where = destination(MlflowSettings(), tmp_path)
    assert trouble_with(where) == ""
    (tmp_path / "mlflow.db").touch()
    assert trouble_with(where) == ""
    with sqlite3.connect(tmp_path / "mlflow.db") as store:
        store.execute("CREATE TABLE t (x)")
    store.close()
    assert trouble_with(where) == ""


def test_of_a_server_nothing_is_known(tmp_path: Path) -> None:
    assert trouble_with(destination(MlflowSettings(uri="http://lab:5000"), tmp_path)) == ""
