"""One listening socket while it is served: how connections come in, and how it stops without losing one.

Accepting is the event loop's work where that is possible, since it is faster in C. We accept ourselves
- under TLS, because a connection counts from its accept, not from the end of its handshake, when we wait for the last;
- when several workers share the socket and take turns (`gate`);
- when the socket came to us listening and its backlog cannot be read: the loop would set another one.

A loop that closes a listening socket drops what waits in the kernel's accept queue: clients that think they are
connected get a reset. So the loop serves a duplicate; when it has let go, the original is emptied, then closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import logging
import select
import socket
import ssl as ssl_module
import sys
from collections.abc import Callable
from inspect import signature
from typing import Any, Protocol

from uvicorn.listening import is_listening, listening_backlog

logger = logging.getLogger("uvicorn.error")

ProtocolFactory = Callable[[], asyncio.Protocol]

_ACCEPTS_PER_WAKEUP = 64  # then other connections have their turn
_ACCEPTS_AT_STOP = 8192  # a flood must not keep a stopping server from stopping
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_EXHAUSTED_PAUSE = 1.0  # seconds
_NEVER = 86400.0  # seconds


class Gate(Protocol):
    """Lets servers that share a socket take turns; called in the loop's thread."""

    def ask(self, waited: float) -> tuple[int, float]:
        """Return how many connections to accept before asking again; of 0, the seconds to leave what waits to others.

        `waited`: for how long it was left to them just before; 0: a new one waits.
        """

    def looked(self, accepted: int) -> None:
        """Take note that the server has looked for connections, and found so many."""


class Acceptor:
    """Serves `sock`, which stays the caller's to close, until `stop()`.

    `backlog` is for a socket that does not listen yet; one that does keeps its own. `gate` is asked before each
    accept. `ends_itself`: the protocol sees to it that a connection it has closed ends. Else the loop breaks TLS off
    half a minute after the close, whatever is still on its way to a slow client.
    """

    def __init__(
        self,
        sock: socket.socket,
        factory: ProtocolFactory,
        *,
        backlog: int,
        ssl: ssl_module.SSLContext | None = None,
        handshake_timeout: float | None = None,
        ends_itself: bool = False,
        gate: Gate | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._factory = factory
        self._backlog = backlog
        self._gate = gate
        self._tls: dict[str, Any] = {}
        if ssl is not None:
            self._tls = {"ssl": ssl, "ssl_handshake_timeout": handshake_timeout or None}
            if ends_itself and _breaks_tls_off(self._loop):
                self._tls["ssl_shutdown_timeout"] = _NEVER
        self.pending: dict[asyncio.Future[Any], asyncio.Protocol] = {}
        """Connections accepted here that are not under way yet, TLS handshakes among them; with their protocols."""
        module = type(self._loop).__module__.partition(".")[0]
        self._by_hand = not self._tls and module in ("asyncio", "uvloop")
        self._server: asyncio.Server | None = None
        self._duplicate: socket.socket
        self._resumption: asyncio.TimerHandle | None = None
        self._poll: select.poll | None = None
        self._allowed = 0  # connections, by the gate
        self._serving = False

    async def start(self) -> asyncio.Server | Acceptor:
        """Accept from now on. Returns what stands for this socket in `Server.servers`. OSError if it cannot listen."""
        backlog: int | None = self._backlog
        if is_listening(self._sock):
            backlog = listening_backlog(self._sock)
        else:
            self._sock.listen(self._backlog)
        self._sock.setblocking(False)
        self._serving = True
        if backlog is None or self._tls or self._gate is not None:
            self._loop.add_reader(self._sock.fileno(), self._accept_some)
            return self
        duplicate = self._sock.dup()
        duplicate.setblocking(False)
        options: dict[str, Any] = {}
        create: Callable[..., Any] = self._loop.create_server
        if duplicate.family == getattr(socket, "AF_UNIX", None):
            create = self._loop.create_unix_server
            if sys.version_info >= (3, 13) and isinstance(self._loop, asyncio.SelectorEventLoop):
                options["cleanup_socket"] = False  # whoever bound the path removes it
        try:
            server: asyncio.Server = await create(self._factory, sock=duplicate, backlog=backlog, **options)
        except BaseException:
            duplicate.close()
            raise
        self._server = server
        self._duplicate = duplicate
        return server

    async def stop(self, *, accept_rest: bool) -> None:
        """Accept no more. `accept_rest` first takes in everything that waits in the kernel's queue."""
        if self._serving and self._server is not None and isinstance(self._loop, asyncio.SelectorEventLoop):
            # asyncio accepts in one turn and makes the transport in the next, which fails on a server that is closed
            # by then: the connection would be dropped without a word. So first only stop listening for more.
            self._loop.remove_reader(self._duplicate)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        was_serving = self._serving
        self.close()
        if accept_rest and was_serving:
            self._accept(_ACCEPTS_AT_STOP)

    # What asyncio.Server offers, for those who look into `Server.servers`.

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening socket, while it is served."""
        return (self._sock,) if self._serving else ()

    def is_serving(self) -> bool:
        """Say whether connections are accepted."""
        return self._serving

    def close(self) -> None:
        """Accept no more, at once; what waits in the kernel's queue stays there."""
        if not self._serving:
            return
        self._serving = False
        if self._server is not None:
            self._server.close()
        elif self._resumption is None:
            self._loop.remove_reader(self._sock.fileno())
        if self._resumption is not None:
            self._resumption.cancel()

    async def wait_closed(self) -> None:
        """Return at once: `close()` leaves nothing to wait for."""

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop that accepts."""
        return self._loop

    # Accepting ourselves.

    def unmade(self, made: set[Any]) -> int:
        """Return how many connections were accepted here whose protocol object is not in `made` yet."""
        return len(self.pending) - len(made.intersection(self.pending.values()))

    def _accept_some(self) -> None:
        if self._gate is None:
            self._accept(_ACCEPTS_PER_WAKEUP)
        elif (pause := self._take_turn(self._gate, 0.0)) > 0:
            self._loop.remove_reader(self._sock.fileno())
            self._resumption = self._loop.call_later(pause, self._look_again, pause)

    def _take_turn(self, gate: Gate, waited: float) -> float:
        """Accept what the gate allows; return the seconds to leave what waits to others, if it allows nothing."""
        if not self._allowed:
            self._allowed, pause = gate.ask(waited)
            if pause > 0:
                return pause
        accepted = self._accept(self._allowed)
        self._allowed -= accepted
        gate.looked(accepted)
        return 0.0

    def _look_again(self, waited: float) -> None:
        """A pause is over; of `waited` seconds, for the sake of others."""
        gate = self._gate
        self._resumption = None
        if gate is not None and self._something_waits() and (pause := self._take_turn(gate, waited)) > 0:
            self._resumption = self._loop.call_later(pause, self._look_again, pause)
        elif self._serving and self._resumption is None:
            self._loop.add_reader(self._sock.fileno(), self._accept_some)

    def _something_waits(self) -> bool:
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self._sock, select.POLLIN)
        return bool(self._poll.poll(0))

    def _accept(self, count: int) -> int:
        """Accept up to `count` connections; return how many there were."""
        accepted = 0
        for _ in range(count):
            try:
                connection, _address = self._sock.accept()
            except BlockingIOError:
                break
            except OSError as exc:
                if exc.errno in _EXHAUSTED and self._serving:
                    logger.warning("cannot accept connections: %s; trying again in %g s", exc, _EXHAUSTED_PAUSE)
                    if self._resumption is None:
                        self._loop.remove_reader(self._sock.fileno())
                        self._resumption = self._loop.call_later(_EXHAUSTED_PAUSE, self._look_again, 0.0)
                    break
                if exc.errno == errno.EBADF or not self._serving:
                    break
                continue  # this one left while it waited, accept(2)
            accepted += 1
            connection.setblocking(False)
            if self._by_hand:
                self._connect_by_hand(connection)
            else:
                protocol = self._factory()
                task = self._loop.create_task(self._connect(connection, protocol))
                self.pending[task] = protocol
                task.add_done_callback(self.pending.pop)
        return accepted

    async def _connect(self, connection: socket.socket, protocol: asyncio.Protocol) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: protocol, connection, **self._tls)
        except Exception as exc:
            # A failed handshake: a scanner, a client that speaks HTTP to a TLS port, a certificate it does not trust.
            self._give_up(connection, exc)

    @staticmethod
    def _give_up(connection: socket.socket, exc: Exception) -> None:
        logger.debug("connection failed before its first request: %s", exc or type(exc).__name__)
        with contextlib.suppress(OSError):
            connection.close()

    def _connect_by_hand(self, connection: socket.socket) -> None:
        """Do the same without a task, which would cost half as much again as all the rest.

        Without TLS the loop's coroutine waits for one future, which is done when `connection_made` was called.
        """
        protocol = self._factory()
        work: Any = self._loop.connect_accepted_socket(lambda: protocol, connection)
        try:
            made = work.send(None)
        except Exception as exc:
            self._give_up(connection, exc)
            return
        made._asyncio_future_blocking = False  # as a task says that it has taken the future from the coroutine
        self.pending[made] = protocol
        made.add_done_callback(functools.partial(self._is_connected, work))

    def _is_connected(self, work: Any, made: asyncio.Future[Any]) -> None:
        del self.pending[made]
        with contextlib.suppress(StopIteration, asyncio.CancelledError):
            work.send(None)


def _breaks_tls_off(loop: asyncio.AbstractEventLoop) -> bool:
    """Say whether it can be told to leave TLS that ends its time; loops of other makers may not know of that."""
    try:
        return "ssl_shutdown_timeout" in signature(loop.connect_accepted_socket).parameters
    except ValueError:  # of an extension module that tells no signature
        return False
