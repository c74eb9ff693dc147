"""The terminal as the commands see it."""

from __future__ import annotations

import os
from typing import Any

from rich.console import Console


class Terminal(Console):
    """rich's console, which prints names as they are and takes a reader that left for one that has what it wanted.

    ``options`` are those of rich's own.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, unless the output leads nowhere: to a reader that left or a disk that is full."""
        try:
            super().print(*objects, **options)
        except OSError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Say no more, and go on: rich would end the process, with a run still to be delivered."""
        self.quiet = True
        # What is left in the file's buffer must go somewhere when the interpreter ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.file.fileno())
        os.close(nowhere)
