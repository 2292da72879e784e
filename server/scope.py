"""Request head and peer -> ASGI scope. No I/O. ASGI specification, HTTP & WebSocket message format, 2.3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .connection import HTTPConnection
    from .head import Head
    from .service import Service


def http_scope(head: Head, service: Service, connection: HTTPConnection) -> dict[str, Any]:
    """Return the scope of one HTTP request; all of its containers are the application's own."""
    return {
        "type": "http",
        "asgi": {"version": service.asgi_version, "spec_version": "2.3"},
        "http_version": head.version,
        "server": connection.server,
        "client": connection.client,
        "scheme": connection.scheme,
        "method": head.method,
        "root_path": service.root_path,
        "path": head.path,
        "raw_path": head.raw_path,
        "query_string": head.query,
        "headers": head.fields.copy(),
        "state": service.app_state.copy(),
    }
