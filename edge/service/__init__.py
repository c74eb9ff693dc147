"""The edge as a service: the station's cameras and models over HTTP."""
