"""Upstream's import path; the code is in uvicorn.server.utils."""

from uvicorn.server.utils import (
    ClientDisconnected,
    get_client_addr,
    get_local_addr,
    get_path_with_query_string,
    get_remote_addr,
    is_ssl,
)

__all__ = [
    "ClientDisconnected",
    "get_client_addr",
    "get_local_addr",
    "get_path_with_query_string",
    "get_remote_addr",
    "is_ssl",
]
