"""What the tests share: started commands (`processes`), raw clients (`wire`), clients under load (`load`)."""

from __future__ import annotations

from .load import LoadClient, Report
from .processes import Running, free_port, in_environment, is_alive
from .wire import Response, Wire, WireError

__all__ = [
    "LoadClient",
    "Report",
    "Response",
    "Running",
    "Wire",
    "WireError",
    "free_port",
    "in_environment",
    "is_alive",
]
