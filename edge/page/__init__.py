"""The web page of the service: static files, and where they are served."""
