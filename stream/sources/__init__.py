"""Where frames come from. One file a kind of source."""
