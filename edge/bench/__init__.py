"""Measuring: the whole command against a plain loop, and against what the machine allows."""
