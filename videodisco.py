"""The command ``videodisco``: mounts the commands of each room, and turns every ending into an exit code."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from stream.errors import EXIT_BUG, EXIT_DONE, EXIT_SIGINT, EXIT_USAGE, VideoDiscoError

if TYPE_CHECKING:
    import typer


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; the last word on every error.

    What takes time to import is imported in here: Ctrl-C is no traceback then either.
    """
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:
        return EXIT_SIGINT


@functools.cache
def make_app() -> typer.Typer:
    """All commands."""
    import typer

    from cloud import cli as cloud_cli
    from edge import cli as edge_cli
    from models import cli as models_cli

    app = typer.Typer(
        name="videodisco",
        help="Point it at a video: detections, tracks, an annotated recording and an MLflow run come out.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    edge_cli.mount(app)
    cloud_cli.mount(app)
    app.add_typer(models_cli.app, name="models")
    return app


def _run(arguments: list[str]) -> int:
    app = make_app()
    import typer
    from typer.exceptions import TyperException

    debug = "--debug" in arguments
    try:
        code = app(arguments, standalone_mode=False)
        return code if isinstance(code, int) else EXIT_DONE
    except typer.Exit as exc:
        return exc.exit_code
    except TyperException as exc:
        _say_usage(exc.format_message())
        return EXIT_USAGE
    except typer.Abort:
        return EXIT_SIGINT
    except VideoDiscoError as exc:
        if debug:
            raise
        _complain(str(exc))
        return exc.exit_code
    except Exception as exc:  # the process's boundary: a bug of ours, said as one
        if _was_interrupted(exc):
            return EXIT_SIGINT
        if debug:
            raise
        _complain(f"a bug: {type(exc).__name__}: {exc} (run it again with --debug and report what it prints)")
        return EXIT_BUG


def _was_interrupted(error: BaseException | None) -> bool:
    """A library that is interrupted while it is imported says that this failed."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _say_usage(message: str) -> None:
    """What typer complains of, in our words; of a command without arguments it has printed the help, or gives it."""
    if "\n" in message:
        print(message)  # noqa: T201 - this is the terminal
    elif message:
        _complain(f"{message.rstrip('.')}; --help says what there is")


def _complain(sentence: str) -> None:
    from stream.redaction import redact_url

    with contextlib.suppress(OSError):  # nobody can be told on a terminal that is gone or a disk that is full
        print(f"videodisco: {redact_url(sentence)}", file=sys.stderr, flush=True)  # noqa: T201 - this is the terminal


if __name__ == "__main__":
    sys.exit(main())
