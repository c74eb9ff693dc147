"""Events in the shape that Frigate's users know from its MQTT topics."""

from __future__ import annotations

import json
import re
from typing import Any

from edge.events.event import Event, EventChange

# What separates levels of a topic or stands for many of them, and what no broker takes.
_NOT_IN_A_LEVEL = re.compile(r"[/+#\0-\x1f\x7f]")


def change_payload(change: EventChange) -> str:
    """``{"type", "before", "after"}``; ``before`` is ``after`` where the event was not told before."""
    after = _event(change.event)
    before = after if change.before is None else _event(change.before)
    return json.dumps({"type": change.type.value, "before": before, "after": after}, allow_nan=False)


def level(name: str) -> str:
    """``name`` as one level of a topic."""
    return _NOT_IN_A_LEVEL.sub("_", name) or "_"


def _event(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "camera": event.camera,
        "label": event.class_name,
        "sub_label": event.refined.label if event.refined else None,
        "score": round(event.latest_confidence, 4),
        "top_score": round(event.confidence, 4),
        "box": [round(value) for value in event.latest_box],
        "start_time": round(event.start_s, 3),
        "end_time": None if event.end_s is None else round(event.end_s, 3),
        "current_zones": list(event.zones),
        "entered_zones": list(event.entered_zones),
        "stationary": event.stationary,
        "has_clip": event.clip is not None,
        "has_snapshot": event.snapshot is not None,
    }
