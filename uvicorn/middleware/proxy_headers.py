"""Upstream's import path; the code is in uvicorn.server.proxy_headers."""

from uvicorn.server.proxy_headers import (
    ProxyHeadersMiddleware,
    _parse_host_port,
    _parse_raw_hosts,
    _TrustedHosts,
)

__all__ = ["ProxyHeadersMiddleware", "_TrustedHosts", "_parse_host_port", "_parse_raw_hosts"]
