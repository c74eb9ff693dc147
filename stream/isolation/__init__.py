"""Decoding in a child process: what a stream can do to the decoder happens there.

The parent's side (``process``, ``session``) takes the child for an enemy: whatever it says is bounded and checked.
"""
