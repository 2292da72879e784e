"""Upstream's import path; the code is in uvicorn.server.httptools_protocol."""

import re

from uvicorn.server.cycle import RequestResponseCycle
from uvicorn.server.httptools_protocol import HttpToolsProtocol
from uvicorn.server.response import STATUS_LINES as STATUS_LINE

# What must not occur in a header's name or value (RFC 9110, 5.1 and 5.5), for those who check theirs with these.
HEADER_RE = re.compile(rb"[^!#$%&'*+\-.^_`|~0-9A-Za-z]")
HEADER_VALUE_RE = re.compile(rb"[^\t\x20-\x7e\x80-\xff]")

__all__ = ["HEADER_RE", "HEADER_VALUE_RE", "STATUS_LINE", "HttpToolsProtocol", "RequestResponseCycle"]
