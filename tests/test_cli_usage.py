"""The words and codes of the command line itself."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

import videodisco
from tests.commands import command, environment


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--foo"], "No such option: --foo"),
        (["run", "x.mp4", "--conf", "abc"], "Invalid value for '--conf'"),
        (["probe"], "Missing argument"),
        (["nonsense"], "No such command 'nonsense'"),
    ],
)
def test_wrong_usage_is_one_sentence_and_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert videodisco.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("videodisco: ")
    assert words in line


@pytest.mark.parametrize("arguments", [[], ["config"], ["models"], ["dataset"]])
def test_without_arguments_there_is_help_and_nothing_else(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert videodisco.main(arguments) == 2
    said = capsys.readouterr()
    assert "Usage" in said.out
    assert said.err == ""


def test_nothing_slow_is_imported_where_ctrl_c_would_be_a_traceback() -> None:
    words = "import sys, videodisco; print([each for each in ('typer', 'models', 'edge') if each in sys.modules])"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_ctrl_c_while_commands_are_imported_ends_with_its_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    def library_interrupted(*_: object, **__: object) -> None:
        try:
            interrupted()
        except KeyboardInterrupt as exc:
            raise ImportError("initialization failed") from exc

    for make_app in (interrupted, lambda: library_interrupted):
        monkeypatch.setattr(videodisco, "make_app", make_app)
        assert videodisco.main(["checks"]) == 130
        assert capsys.readouterr().err == ""


def test_an_empty_source_is_not_the_whole_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert videodisco.main(["run", "", "--no-mlflow"]) == 3
    assert "a source is empty" in capsys.readouterr().err


@pytest.mark.slow
def test_output_onto_a_full_disk_is_no_bug(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command("checks"),
            cwd=tmp_path,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_no_word_of_the_help_is_taken_for_markup() -> None:
    """rich leaves out what stands in brackets, unless they are escaped: all defaults were gone."""

    def commands(group: Any) -> Iterator[Any]:
        for each in group.commands.values():
            yield from commands(each) if hasattr(each, "commands") else [each]

    texts = [
        f"{each.name} {parameter.name}: {parameter.help}"
        for each in commands(typer.main.get_command(videodisco.make_app()))
        for parameter in each.params
        if getattr(parameter, "help", None)
    ]
    assert any(r"\[default: 0.4]" in text for text in texts)
    assert not [text for text in texts if re.search(r"(?<!\\)\[", text)]


@pytest.mark.parametrize("option", [("--model", "nowhere"), ("--conf", "0.3")])
def test_checks_does_not_pass_over_what_only_a_measurement_needs(
    option: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert videodisco.main(["checks", *option]) == 2
    assert f"{option[0]} is for --measure CLIP" in capsys.readouterr().err


@pytest.mark.parametrize("more", [(), ("--realtime",)])
def test_a_run_whose_data_set_cannot_be_kept_leaves_no_folder_behind(
    more: tuple[str, ...], bikes_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("dataset: {enabled: true, folder: /dev/null/x}\nmlflow: {enabled: false}\n")
    assert videodisco.main(["run", str(bikes_clip), "--config", "c.yaml", *more]) == 2
    assert not list(Path("runs").iterdir())
