"""Boxes, labels, trails and zones drawn on pictures, in the look of supervision's annotators."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stream.frame import FrameResult, Pixels, Refinement
from stream.trails import Trails
from stream.zone_drawing import paint_zone_tags, paint_zones

if TYPE_CHECKING:
    import supervision as sv

# The picture height at which supervision's own sizes (lines of 2 px, text of scale 0.5) look right.
_REFERENCE_HEIGHT_PX = 720
# Smaller text cannot be read.
_SMALLEST_TEXT_SCALE = 0.35
# Between black and white by the eye's weighting of red, green and blue: lighter colours get black text.
_LIGHT_LUMA = 150
_HEAD_UP_INK = (240, 240, 240)


class Overlay:
    """Draws a result on its picture; sizes follow the picture's height. For one source, on one thread.

    ``trails``, ``zones`` and ``labels`` (all words) say what is drawn beside the boxes, and may be changed between
    pictures. ``head_up`` gives a line about the whole source, for the lower left corner; empty: none.
    supervision is imported at the first picture that has boxes: it costs most of a second.
    """

    def __init__(
        self, *, trails: bool = False, zones: bool = False, labels: bool = True, head_up: Callable[[], str] = str
    ) -> None:
        self.trails = trails
        self.zones = zones
        self.labels = labels
        self._head_up = head_up
        self._brush: _Brush | None = None
        self._trails = Trails()

    def draw(self, picture: Pixels, result: FrameResult, into: Pixels | None = None) -> Pixels:
        """A copy of the BGR picture with the result's boxes; those that are not finite or lie outside are left out.

        The copy is made ``into`` a former one that is not needed any more, where that has the same size."""
        canvas = np.empty_like(picture) if into is None or into.shape != picture.shape else into
        np.copyto(canvas, picture)
        self.paint(canvas, result)
        return canvas

    def paint(self, canvas: Pixels, result: FrameResult, scale: float = 1.0) -> None:
        """Draw into ``canvas`` itself, which shows the result's picture at ``scale``."""
        zones = result.zones if self.zones else ()
        if zones:
            paint_zones(canvas, zones, scale)
        self._paint_objects(canvas, result, scale)
        if zones and self.labels:
            paint_zone_tags(canvas, zones, scale)
        if self.labels and (text := self._head_up()):
            _paint_head_up(canvas, text)

    def _paint_objects(self, canvas: Pixels, result: FrameResult, scale: float) -> None:
        """Trails, and the boxes over them."""
        height, width = canvas.shape[:2]
        xyxy = np.asarray(result.detections.xyxy, np.float32) * np.float32(scale)
        visible = _visible(xyxy, width, height)
        if self.trails:
            self._follow(result, visible)
        if not visible.any() and not len(self._trails):
            return
        if self._brush is None or self._brush.height_px != height:
            self._brush = _Brush.for_height(height)
        if self.trails:
            self._trails.paint(canvas, self._brush.colour_of, scale=scale, line_px=self._brush.line_px)
        if visible.any():
            self._brush.paint(canvas, result, visible, xyxy, labels=self.labels)

    def _follow(self, result: FrameResult, visible: NDArray[np.bool_]) -> None:
        """Lengthen the trails by what is tracked in this result, and shorten them by the time that has passed."""
        boxes = result.detections
        xyxy = np.asarray(boxes.xyxy, np.float32)[visible]
        tracks = np.full(len(xyxy), -1) if boxes.tracker_id is None else boxes.tracker_id[visible]
        self._trails.update(result.frame, xyxy, _class_ids(boxes, visible), tracks)


@dataclass(frozen=True, slots=True)
class _Brush:
    """supervision's annotators, set for one picture height; a label is about ``label_height_px`` high."""

    height_px: int
    line_px: int
    colours: sv.ColorPalette
    box: sv.BoxAnnotator
    carried_box: sv.BoxAnnotator
    label: sv.LabelAnnotator
    label_height_px: int
    character_width_px: float

    @classmethod
    def for_height(cls, height_px: int) -> _Brush:
        import cv2

        from stream.vision import sv

        scale = height_px / _REFERENCE_HEIGHT_PX
        line_px, padding_px = max(1, round(2 * scale)), max(2, round(4 * scale))
        text_scale, text_px = max(_SMALLEST_TEXT_SCALE, 0.5 * scale), max(1, round(scale))
        sample = "#00 Person 0.00"
        (text_width, text_height), _ = cv2.getTextSize(sample, cv2.FONT_HERSHEY_SIMPLEX, text_scale, text_px)
        colours = sv.ColorPalette.DEFAULT
        return cls(
            height_px=height_px,
            line_px=line_px,
            colours=colours,
            box=sv.BoxAnnotator(colours, thickness=line_px),
            carried_box=sv.BoxAnnotator(colours, thickness=max(1, line_px // 2)),
            label=sv.LabelAnnotator(
                colours,
                text_color=_readable_on(colours),
                text_scale=text_scale,
                text_thickness=text_px,
                text_padding=padding_px,
            ),
            label_height_px=text_height + 2 * padding_px,
            character_width_px=text_width / len(sample),
        )

    def colour_of(self, class_id: int) -> tuple[int, int, int]:
        """The BGR colour of a class's boxes."""
        return self.colours.by_idx(class_id).as_bgr()

    def paint(
        self,
        canvas: Pixels,
        result: FrameResult,
        visible: NDArray[np.bool_],
        xyxy: NDArray[np.float32],
        *,
        labels: bool,
    ) -> None:
        """Draw the visible ones of the boxes ``xyxy``, in pixels of ``canvas``, into it."""
        from stream.vision import sv

        height, width = canvas.shape[:2]
        xyxy = xyxy[visible].clip(0, (width - 1, height - 1, width - 1, height - 1))
        class_id = _class_ids(result.detections, visible)
        annotator = self.carried_box if result.carried else self.box
        annotator.annotate(canvas, sv.Detections(xyxy=xyxy, class_id=class_id))
        if labels:
            texts = label_texts(result, visible)
            anchored = sv.Detections(xyxy=self._label_anchors(xyxy, texts, width), class_id=class_id)
            self.label.annotate(canvas, anchored, labels=texts)

    def _label_anchors(self, xyxy: NDArray[np.float32], texts: list[str], width: int) -> NDArray[np.float32]:
        """Boxes whose labels, put on their top-left corner, stay within the picture."""
        label_widths = np.array([len(text) for text in texts]) * self.character_width_px + self.label_height_px
        anchors = xyxy.copy()
        anchors[:, 0] = np.maximum(0, np.minimum(xyxy[:, 0], width - label_widths))
        anchors[:, 1] = np.maximum(xyxy[:, 1], self.label_height_px)
        anchors[:, 2:] = np.maximum(anchors[:, 2:], anchors[:, :2])
        return anchors


def _paint_head_up(canvas: Pixels, text: str) -> None:
    """In the lower left corner, on a darkened ground: labels are at the upper edges of boxes, cameras write their time
    above."""
    import cv2

    scale = canvas.shape[0] / _REFERENCE_HEIGHT_PX
    text_scale, text_px, padding_px = max(_SMALLEST_TEXT_SCALE, 0.5 * scale), max(1, round(scale)), round(6 + 4 * scale)
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, text_scale, text_px)
    ground = canvas[-(height + 2 * padding_px) :, : width + 2 * padding_px]
    ground[:] = ground // 3
    corner = (padding_px, canvas.shape[0] - padding_px)
    cv2.putText(canvas, text, corner, cv2.FONT_HERSHEY_SIMPLEX, text_scale, _HEAD_UP_INK, text_px, cv2.LINE_AA)


def label_texts(result: FrameResult, visible: NDArray[np.bool_] | None = None) -> list[str]:
    """What is written on each (visible) box: ``#12 person 0.87``, or ``#12 dog: golden retriever 0.82`` once refined.

    The id is left out of a box without a track, the confidence out of a carried box.
    """
    boxes = result.detections
    shown: Iterable[Any] = range(len(boxes.xyxy)) if visible is None else np.flatnonzero(visible)
    names = boxes.data.get("class_name")
    texts = []
    for index in shown:
        track_id = -1 if boxes.tracker_id is None else int(boxes.tracker_id[index])
        confidence = None if result.carried or boxes.confidence is None else float(boxes.confidence[index])
        name = "object" if names is None else str(names[index])
        texts.append(_text(name, track_id, confidence, result.refinement_of(track_id, name)))
    return texts


def _class_ids(boxes: sv.Detections, visible: NDArray[np.bool_]) -> NDArray[Any]:
    return np.zeros(int(visible.sum()), int) if boxes.class_id is None else boxes.class_id[visible]


def _text(name: str, track_id: int, confidence: float | None, refined: Refinement | None) -> str:
    parts = [f"#{track_id}"] if track_id >= 0 else []
    if refined is not None:
        return " ".join([*parts, f"{name}: {refined.label}", f"{refined.confidence:.2f}"])
    parts.append(name)
    if confidence is not None:
        parts.append(f"{confidence:.2f}")
    return " ".join(parts)


def _visible(xyxy: NDArray[np.float32], width: int, height: int) -> NDArray[np.bool_]:
    """Which boxes ``(N, 4)`` have any area within the picture; comparisons with NaN are false."""
    x1, y1, x2, y2 = xyxy.T
    inside = (x1 < width) & (y1 < height) & (x2 > 0) & (y2 > 0) & (x2 > x1) & (y2 > y1)
    return np.asarray(inside & np.isfinite(xyxy).all(axis=1))


def _readable_on(colours: sv.ColorPalette) -> sv.ColorPalette:
    """Black or white for each colour of a palette."""
    from stream.vision import sv

    return sv.ColorPalette(
        [
            sv.Color.BLACK if 0.299 * c.r + 0.587 * c.g + 0.114 * c.b > _LIGHT_LUMA else sv.Color.WHITE
            for c in colours.colors
        ]
    )
