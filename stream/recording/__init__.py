"""Recording of live cameras: segments that play at every moment, an index of them, and what is kept for how long."""
