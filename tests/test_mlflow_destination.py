"""Where runs are logged, and what is wrong with it at first sight."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from stream.telemetry import MlflowSettings
from stream.telemetry.destination import destination, trouble_with


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    where = destination(MlflowSettings(), tmp_path)
    (tmp_path / "mlflow.db").write_bytes(b"\x13\x37" * 500)
    assert "mlflow.db is not a SQLite database" in trouble_with(where)


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
