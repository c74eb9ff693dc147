"""What both services stand on: endpoints as a table, the door (auth, limits, TLS), errors, metrics, documentation.

``settings`` imports no server, so that commands stay light; a service is made of ``endpoints.Endpoint``,
``app.build_app`` and ``service.Service``.
"""
