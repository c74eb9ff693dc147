"""Telling others of events: by HTTP (webhook) and MQTT. Nothing here may hold up a frame."""
