"""Which cameras a run has: those of the configuration, and one for each live source on the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from edge.cameras.settings import CameraSettings
from edge.config import RunSettings
from stream.errors import SourceError, UsageError
from stream.redaction import redact_url
from stream.sources.address import is_live, name_of, parse_address
from stream.sources.listing import LIST_SUFFIXES, entries_of, expand

LONGEST_NAME = 40


def wants_cameras(settings: RunSettings) -> bool:
    """Whether these settings mean live sources rather than recorded files."""
    return bool(settings.cameras) or settings.realtime or any(is_live(each) for each in _written_out(settings.sources))


def cameras_of(settings: RunSettings) -> dict[str, CameraSettings]:
    """All cameras by name, in order; those without a name of their own are named after their address.

    Raises:
        UsageError: recorded files are named beside cameras without ``realtime``, or a name is taken twice.
        SourceError: an address that cannot be one.
    """
    cameras = dict(settings.cameras)
    for source in _sources(settings):
        name = _free_name(name_of(parse_address(source)), cameras)
        cameras[name] = CameraSettings.model_validate({**settings.defaults.model_dump(), "source": source})
    for name, camera in cameras.items():  # what can be no address is said before anything is begun
        try:
            parse_address(camera.source)
        except SourceError as exc:
            raise SourceError(f"camera '{name}': {exc}") from exc
    return cameras


def _sources(settings: RunSettings) -> list[str]:
    sources = _written_out(settings.sources)
    files = [each for each in sources if not is_live(each)]
    if files and not settings.realtime:
        raise UsageError(
            f"{redact_url(files[0])} is a recorded file among cameras; run files apart, "
            "or add --realtime to play them as if they were cameras"
        )
    paths = iter(listed.path for listed in expand(files)) if files else iter(())
    return [each for each in sources if is_live(each)] + [str(path) for path in paths]


def _written_out(sources: Sequence[str]) -> list[str]:
    """The sources with list files replaced by what they name, where that is live."""
    written: list[str] = []
    for source in sources:
        path = Path(source)
        if not is_live(source) and path.suffix.lower() in LIST_SUFFIXES and path.is_file():
            entries = entries_of(path)
            written += entries if any(is_live(entry) for entry in entries) else [source]
        else:
            written.append(source)
    return written


def _free_name(wanted: str, taken: dict[str, CameraSettings]) -> str:
    name = base = re.sub(r"[^\w.\- ]", "_", wanted).lstrip(".- ")[:LONGEST_NAME] or "camera"
    number = 2
    while name in taken:
        name = f"{base[: LONGEST_NAME - 3]}_{number}"
        number += 1
    return name
