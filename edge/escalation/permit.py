"""Whether what waits may still go out: a policy that was made stricter counts for crops from before it, too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from edge.escalation.parcel import Parcel
from edge.escalation.policy import Cause, Policy
from edge.escalation.settings import CameraEscalation, CameraPolicy, EscalationSettings
from stream.sinks.rows import Row

DISABLED = "disabled"
SHADOW = "shadow"


class Refusal(NamedTuple):
    """Why a crop that waits is not sent: a word to count by, and a sentence."""

    cause: str
    why: str


class Permit:
    """Knows what counts for the cameras of this run; crops of cameras that it does not know go out as they are.

    From any thread. Raises UsageError where a camera's policy is none.
    """

    def __init__(self, settings: EscalationSettings, cameras: Mapping[str, CameraEscalation | None]) -> None:
        self._settings = settings
        self._wanted = {name: settings.of_camera(own) for name, own in cameras.items()}

    def learn(self, camera: str, wanted: CameraPolicy) -> None:
        """What counts for a camera from now on."""
        self._wanted[camera] = wanted

    def refusal(self, parcel: Parcel) -> Refusal | None:
        """None for a crop that may go out."""
        wanted = self._wanted.get(parcel.track.camera)
        if wanted is None:
            return None
        if not wanted.enabled:
            return Refusal(DISABLED, "nothing of its camera is sent any more")
        if wanted.shadow:
            return Refusal(SHADOW, "of its camera it is only reported by now what would be sent")
        row = Row(parcel.bbox, parcel.confidence, parcel.class_id, parcel.class_name, None)
        if Policy(wanted.policy).denies(row):
            return Refusal(Cause.DENIED, f"{parcel.class_name} never leaves by now")
        if seen := _words(wanted.policy.deny) - _words(parcel.deny):
            return Refusal(Cause.DENIED, f"it was cut out before {', '.join(sorted(seen))} was hidden in it")
        if wanted.policy.blur_others and not parcel.blur_others:
            return Refusal(Cause.DENIED, "it was cut out before others were blurred in it")
        return None


def _words(classes: tuple[str, ...]) -> set[str]:
    return {word.casefold() for word in classes}
