"""The page's files, for :func:`stream.http.app.build_app`."""

from __future__ import annotations

from stream.http.pages import Pages

PAGE = Pages("edge.page", "static", "/")
"""``index.html`` at ``/``; its scripts, styles and pictures below ``/page/``."""
