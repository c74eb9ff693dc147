"""The live window: what the cameras see now, on the main thread, with a few keys."""

from edge.window.display import WindowError
from edge.window.roles import CameraFeed, Controls, FeedFigures
from edge.window.window import Window, open_window

__all__ = ["CameraFeed", "Controls", "FeedFigures", "Window", "WindowError", "open_window"]
