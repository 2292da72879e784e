"""Request head and peer -> ASGI scope. No I/O. ASGI specification, HTTP & WebSocket message format, 2.3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .connection import HTTPConnection
    from .head import Head
    from .service import Service


def http_scope(head: Head, service: Service, connection: HTTPConnection) -> dict[str, Any]:
    """Return the scope of one HTTP request; all of its containers are the application's own."""
    scope = head.scope.copy()
    scope["asgi"] = {"version": service.asgi_version, "spec_version": "2.3"}
    scope["server"] = connection.server
    scope["client"] = connection.client
    scope["scheme"] = connection.scheme
    scope["headers"] = head.fields.copy()
    scope["state"] = service.app_state.copy()
    return scope
