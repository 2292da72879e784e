"""What the connections of one server share: who is open, what runs, how many requests were answered.

One `ServerState` belongs to one `Server` and is touched only by the thread of its event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from time import gmtime
from typing import TYPE_CHECKING, Any, Literal

from .utils import is_ssl

if TYPE_CHECKING:
    import asyncio

    from .service import Service

Header = tuple[bytes, bytes]

# Not time.strftime, which speaks the language of the locale; not email.utils, which imports a megabyte.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(seconds: float) -> str:
    """Return the moment that many seconds after 1970 as HTTP writes it (IMF-fixdate, RFC 9110 5.6.7)."""
    t = gmtime(seconds)
    clock = f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}"
    return f"{_DAYS[t.tm_wday]}, {t.tm_mday:02} {_MONTHS[t.tm_mon - 1]} {t.tm_year:04} {clock} GMT"


class ServerState:
    """Shared by every protocol object of a server; the first four attributes are those that custom protocols use."""

    def __init__(self) -> None:
        self.total_requests = 0
        """Requests answered since the start; a WebSocket counts as one."""
        self.total_errors = 0
        """Of these, those that were answered with a status from 500 on."""
        self.connections: set[Any] = set()
        """The protocol object of every open connection; each has `shutdown()`, ours also `retire()`."""
        self.tasks: set[asyncio.Task[None]] = set()
        """The task of every request that is being answered."""
        self.max_requests: int | None = None
        """Call `on_max_requests` when `total_requests` reaches this; None: never."""
        self.on_max_requests: Callable[[], None] | None = None
        self.draining: Literal["retire", "stop"] | None = None
        """Why responses say `connection: close` now; None: they do not."""
        self.service: Service | None = None
        """What the HTTP connections share besides; made at the first one."""
        self.encrypted: bool | None = None
        """Whether all connections are; None: each is to be asked, because somebody else accepts them."""
        self._headers: list[Header] = []
        self._dated = False
        self._second = -1
        self._default_headers: list[Header] = []
        self._default_block = b""

    def is_encrypted(self, transport: asyncio.BaseTransport) -> bool:
        """Say whether this connection is encrypted."""
        return is_ssl(transport) if self.encrypted is None else self.encrypted

    def set_headers(self, headers: Sequence[Header], *, date: bool) -> None:
        """Set the headers that every response begins with; `date` puts a Date, renewed once a second, before them.

        A Date among the headers takes its place: there can be one (RFC 9110 5.3).
        """
        self._headers = list(headers)
        self._dated = date and all(name.lower() != b"date" for name, _ in headers)
        self._second = -1
        self._render()

    @property
    def default_headers(self) -> list[Header]:
        """The headers that every response begins with, the Date of this second among them."""
        if self._dated and int(time.time()) != self._second:
            self._render()
        return self._default_headers

    @default_headers.setter
    def default_headers(self, headers: list[Header]) -> None:
        self.set_headers(headers, date=False)

    @property
    def default_block(self) -> bytes:
        """`default_headers` as bytes of a response head. The hot path reads this once a response."""
        if self._dated and int(time.time()) != self._second:
            self._render()
        return self._default_block

    def _render(self) -> None:
        self._second = int(time.time())
        date = [(b"date", http_date(self._second).encode())] if self._dated else []
        self._default_headers = date + self._headers
        self._default_block = b"".join(b"%s: %s\r\n" % header for header in self._default_headers)
