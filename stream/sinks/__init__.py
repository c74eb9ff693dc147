"""Where results go: files of predictions, annotated video, crops. One file a sink."""
