"""Why a crop gets no answer: an error of its own, while its neighbours get theirs."""

from __future__ import annotations

from stream.errors import VideoDiscoError

STORAGE = "storage"
"""The code of what cannot be kept, and so is not given."""


class ItemError(VideoDiscoError):
    """``code`` is one word for machines; ``retry``: the same question may be answered later."""

    def __init__(self, code: str, sentence: str, *, retry: bool) -> None:
        super().__init__(sentence)
        self.code = code
        self.retry = retry

    @classmethod
    def bad_image(cls, reason: str) -> ItemError:
        return cls("bad_image", reason, retry=False)

    @classmethod
    def too_small(cls, width: int, height: int, min_side_px: int) -> ItemError:
        sentence = f"the crop has {width}x{height} pixels; it needs {min_side_px} on its shorter side"
        return cls("too_small", sentence, retry=False)

    @classmethod
    def too_large(cls, width: int, height: int, max_pixels: int) -> ItemError:
        sentence = f"the crop has {width}x{height} pixels; at most {max_pixels / 1e6:g} million are taken"
        return cls("too_large", sentence, retry=False)

    @classmethod
    def nothing_found(cls) -> ItemError:
        return cls("nothing_found", "the refiner finds nothing in the middle of the crop", retry=False)

    @classmethod
    def conflict(cls) -> ItemError:
        return cls("conflict", "this key was used for another crop; a key names one question for ever", retry=False)

    @classmethod
    def too_late(cls) -> ItemError:
        return cls("deadline", "there was no time left to look at the crop; send it again", retry=True)

    @classmethod
    def failed(cls) -> ItemError:
        return cls("failed", "the refiner failed on the crop; send it again", retry=True)

    @classmethod
    def upstream(cls, reason: str) -> ItemError:
        return cls("failed", f"the service behind the refiner has no answer: {reason}", retry=True)

    @classmethod
    def storage(cls) -> ItemError:
        return cls(STORAGE, "the refiner cannot keep its answer; send the crop again", retry=True)

    @classmethod
    def stopping(cls) -> ItemError:
        return cls("stopping", "the refiner is about to stop; send the crop again", retry=True)
