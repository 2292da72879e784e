"""Upstream's import path; the code is in uvicorn.server.h11_protocol."""

import http

from uvicorn.server.cycle import RequestResponseCycle
from uvicorn.server.h11_protocol import H11Protocol

STATUS_PHRASES = {status.value: status.phrase.encode() for status in http.HTTPStatus}

__all__ = ["STATUS_PHRASES", "H11Protocol", "RequestResponseCycle"]
