"""What the process itself costs: processor time and memory."""

from __future__ import annotations

import psutil


class ProcessFigures:
    """Samples this process, under the names of the MLflow metrics."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()  # the first call only sets the start of the first interval

    def sample(self) -> dict[str, float]:
        """Percent of one core since the last call (two busy cores: 200), and resident memory in MB of 10**6 bytes."""
        with self._process.oneshot():
            return {
                "cpu/percent": float(self._process.cpu_percent()),
                "memory/rss_mb": self._process.memory_info().rss / 1e6,
            }
