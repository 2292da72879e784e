"""The sockets we accept on: bound by us (TCP, UNIX), or inherited from whoever started us.

Binding and listening are apart: a single process binds before the application starts (a taken port is told at once)
and listens when it is ready; a master does both at once. A UNIX socket's path is ours only if we made it, and only as
long as it is still the file we made: an inherited one is never unlinked, changed or bound again.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
import sys
from collections.abc import MutableMapping
from typing import TYPE_CHECKING

from uvicorn._ansi import style
from uvicorn.errors import ListenError as ListenError
from uvicorn.kinds import Inherited, Tcp, Unix, parse_address
from uvicorn.listening import is_listening

if TYPE_CHECKING:
    from uvicorn.config import Config

RunningLine = tuple[str, str, tuple[object, ...]]

DEFAULT_UDS_MODE = 0o666  # as upstream: whoever can reach the path may connect


class Listener:
    """A bound socket, and what must be done with it at the end."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        inherited: bool = False,
        uds: str | None = None,
        host: str | None = None,
        keep_backlog: bool = False,
        name: str = "",
    ) -> None:
        self.sock = sock
        self.inherited = inherited
        self.uds = uds  # path of the file that we made
        self.host = host  # as it was asked for: "localhost", not what it resolved to
        self.name = name  # of an inherited one: what systemd calls it
        self._keep_backlog = keep_backlog
        self.file = os.path.abspath(uds) if uds is not None else ""  # the process may change its directory
        self._inode = _inode(self.file) if uds is not None else None

    def __repr__(self) -> str:
        return f"<Listener {self.address} {'inherited' if self.inherited else 'bound'}>"

    @property
    def address(self) -> str:
        """Where it listens, in words: "127.0.0.1:8000", "unix:/run/app.sock"."""
        if self.sock.fileno() == -1:
            return "closed"
        return _address_of(self.sock)

    def listen(self, backlog: int | None = None) -> None:
        """Begin to accept connections. An inherited listening socket keeps its backlog unless one was asked for."""
        if self._keep_backlog or (backlog is None and self.inherited and is_listening(self.sock)):
            return
        try:
            self.sock.listen(socket.SOMAXCONN if backlog is None else backlog)
        except OSError as error:
            # Two sockets may be bound to one port, but only one of them may listen.
            raise ListenError(_cannot_bind(self.address, error, self.sock.getsockname())) from None

    def unlink(self) -> None:
        """Remove the file of our UNIX socket, if it is still the one we made. Clients are then refused at once."""
        if self._inode is not None and _inode(self.file) == self._inode:
            with contextlib.suppress(OSError):
                os.unlink(self.file)
        self._inode = None

    def close(self) -> None:
        """Close our descriptor and remove our file. Never shuts the socket down: others may share it. Idempotent."""
        self.unlink()
        self.sock.close()


def open_listeners(config: Config) -> list[Listener]:
    """Bind everything that `config` names (nothing listens yet). Raises ListenError, and then leaves nothing open."""
    opened: list[Listener] = []
    try:
        for address in addresses(config):
            opened += _open(address, config)
    except BaseException:
        for listener in opened:
            listener.close()
        raise
    if any(listener.inherited for listener in opened):
        _keep_from_children()
    if names := [f"{listener.name} = {listener.address}" for listener in opened if listener.name]:
        logging.getLogger("uvicorn.error").info("Sockets that systemd passed: %s", ", ".join(names))
    return opened


def addresses(config: Config) -> list[Tcp | Unix | Inherited]:
    """Return what to listen on: all of `bind`; without it uds, else fd, else what systemd passed, else host and port.

    A host or port that somebody asked for goes before systemd's sockets.
    """
    passed = passed_by_systemd()
    found = _asked_for(config)
    if found is None:
        return [*passed] or _by_host(config)
    if passed and not any(isinstance(address, Inherited) for address in found):
        logging.getLogger("uvicorn.error").warning(
            "systemd passed %s, not listened on: the settings name other addresses.",
            "a socket" if len(passed) == 1 else f"{len(passed)} sockets",
        )
    return found


def _asked_for(config: Config) -> list[Tcp | Unix | Inherited] | None:
    """Return what the settings name; None if they have only their defaults."""
    if config.bind:
        try:
            return [parse_address(text) for text in config.bind]
        except ValueError as error:
            raise ListenError(f"bind: expected host:port, [v6]:port, unix:PATH or fd://N, got {str(error)!r}") from None
    if config.uds is not None:
        return [Unix(os.fspath(config.uds))]
    if config.fd is not None:
        given = [config.fd] if isinstance(config.fd, int) else config.fd
        return [Inherited(fd) for fd in dict.fromkeys(given)]
    if config.is_given("host") or config.is_given("port"):
        return _by_host(config)
    return None


def _by_host(config: Config) -> list[Tcp | Unix | Inherited]:
    """Return an address for each host: asyncio takes several, and so did a Config that handed them on."""
    hosts = config.host if isinstance(config.host, list) else [config.host]
    return [Tcp(host or "", int(config.port or 0)) for host in hosts]


def bind_one(config: Config) -> tuple[Listener, RunningLine]:
    """Bind the first of `addresses`, as one socket, for Config.bind_socket."""
    address = addresses(config)[0]
    if isinstance(address, Tcp):
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listener = _bind_tcp(address, family, v6only=False)[0]
    else:
        listener = _open(address, config)[0]
    return listener, running_line(listener, config)


def running_line(listener: Listener, config: Config) -> RunningLine:
    """Return message, message with colours, and arguments of the line that says where we serve. Tools match it."""
    end = " (Press CTRL+C to quit)"
    arguments: tuple[object, ...]
    if listener.inherited:
        start, what, arguments = "socket ", "%s", (listener.sock.getsockname(),)
    elif listener.uds is not None:
        start, what, arguments = "unix socket ", "%s", (listener.uds,)
    else:
        name = listener.sock.getsockname()
        host = name[0] if listener.host is None else listener.host
        if config.host is None:
            host = host or "0.0.0.0"
        is_ssl = config.is_ssl or getattr(config, "ssl", None)  # a context may have been put there after load()
        start, what = "", "%s://[%s]:%d" if ":" in host else "%s://%s:%d"
        arguments = ("https" if is_ssl else "http", host, name[1])
    start = "Uvicorn running on " + start
    return start + what + end, start + style(what, bold=True) + end, arguments


def running_lines(listeners: list[Listener], config: Config) -> list[RunningLine]:
    """Return `running_line` of all, but one line for a name that resolved to several addresses."""
    return list(dict.fromkeys(running_line(listener, config) for listener in listeners))


def _open(address: Tcp | Unix | Inherited, config: Config) -> list[Listener]:
    if isinstance(address, Inherited):
        return [adopt(address.fd, keep_backlog=not config.is_given("backlog"), name=address.name)]
    if isinstance(address, Unix):
        return [_bind_unix(address.path, config.uds_mode)]
    # With workers, an IPv6 wildcard has always been bound as the system has it (IPv4 too); alone, as IPv6 only.
    return _bind_tcp(address, socket.AF_UNSPEC, v6only=config.workers == 1)


# -- TCP ---------------------------------------------------------------------------------------------------------------


_OF_ADDRESSES = frozenset("0123456789abcdefABCDEF.:")


def _bind_tcp(address: Tcp, family: int, *, v6only: bool) -> list[Listener]:
    """Bind every address that the host resolves to; with port 0 all of them to the port that the first one got."""
    host, port = address
    if not 0 <= port <= 65535:
        raise ListenError(f"cannot bind {host}:{port}: a port is from 0 to 65535")
    # A name goes through the codec for international ones, which is a millisecond and some memory; an address need not.
    name = host.encode() if host and set(host) <= _OF_ADDRESSES else host or None
    try:
        found = socket.getaddrinfo(name, port, family, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a host name"
        more = (
            "; a host is a name or an address alone, the port is apart (port, or bind)"
            if set(host) & {":", "/"}
            else ""
        )
        raise ListenError(f"cannot resolve host {host!r}: {reason}{more}") from None
    targets = list(dict.fromkeys((info[0], info[4]) for info in found))
    if family != socket.AF_UNSPEC:
        targets = targets[:1]
    listeners: list[Listener] = []
    refused: list[tuple[str, OSError, tuple[object, ...]]] = []
    for af, target in targets:
        if port == 0 and listeners:
            target = (target[0], listeners[0].sock.getsockname()[1], *target[2:])
        try:
            sock = _bind_one_tcp(af, target, v6only=v6only or len(targets) > 1)
        except OSError as error:
            if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL) and len(targets) > 1:
                refused.append((_format(target), error, target))  # no IPv6 here: the other address will do
                continue
            for listener in listeners:
                listener.close()
            raise ListenError(_cannot_bind(_format(target), error, target)) from None
        listeners.append(Listener(sock, host=host))
    if not listeners:
        raise ListenError(_cannot_bind(*refused[0]))
    return listeners


def _bind_one_tcp(family: int, target: tuple[object, ...], *, v6only: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix" and sys.platform != "cygwin":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and v6only:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(target)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _format(target: object) -> str:
    if isinstance(target, tuple):
        return f"[{target[0]}]:{target[1]}" if ":" in target[0] else f"{target[0]}:{target[1]}"
    if isinstance(target, bytes):  # an abstract UNIX socket
        return f"unix:@{target[1:].decode(errors='replace')}"
    return f"unix:{target}"


def _address_of(sock: socket.socket) -> str:
    return _format(sock.getsockname())


def _cannot_bind(where: str, error: OSError, target: object) -> str:
    reason = (error.strerror or str(error)).lower()
    if error.errno == errno.EADDRINUSE:
        reason = "address already in use"
        port = target[1] if isinstance(target, tuple) else None
        if isinstance(port, int) and port:
            from uvicorn.holders import who_listens

            holder = who_listens(port)
            reason += f" by {holder}" if holder else f" (who: ss -ltnp 'sport = :{port}')"
    elif error.errno == errno.EADDRNOTAVAIL:
        reason = "this machine has no such address"
    elif error.errno == errno.EACCES and isinstance(target, tuple):
        reason = "permission denied (ports below 1024 need CAP_NET_BIND_SERVICE)"
    return f"[Errno {error.errno}] cannot bind {where}: {reason}"


# -- UNIX --------------------------------------------------------------------------------------------------------------


def _bind_unix(path: str, mode: int | None) -> Listener:
    wanted = DEFAULT_UDS_MODE if mode is None else mode
    left_over = _probe(path)
    if left_over is not None:
        if mode is None:
            wanted = left_over  # somebody may have narrowed it: a crash must not widen it again
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The file is born with no more than the socket's own mode: there is no moment in which others may connect.
        with contextlib.suppress(OSError):  # not on macOS
            os.fchmod(sock.fileno(), wanted & 0o600)
        sock.bind(path)
        listener = Listener(sock, uds=path)
        os.chmod(path, wanted)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if error.errno is None:  # Python's own: the path is too long for sockaddr_un
            raise ListenError(f"cannot bind unix:{path}: the path is too long for a UNIX socket") from None
        if error.errno == errno.ENOENT:
            reason = f"there is no directory {os.path.dirname(path) or '.'!r}"
            raise ListenError(f"[Errno {error.errno}] cannot bind unix:{path}: {reason}") from None
        if error.errno == errno.EACCES:
            reason = f"permission denied (user {os.geteuid()} must be able to write to the directory)"
            raise ListenError(f"[Errno {error.errno}] cannot bind unix:{path}: {reason}") from None
        raise ListenError(_cannot_bind(f"unix:{path}", error, path)) from None
    return listener


def _probe(path: str) -> int | None:
    """Return the mode of the dead socket file at `path`, None if there is nothing.

    Raises ListenError if the path belongs to a live server, or is no socket: neither is ours to remove.
    """
    try:
        found = os.lstat(path)
    except OSError:
        return None  # bind() will say what is wrong
    if not stat.S_ISSOCK(found.st_mode):
        raise ListenError(f"cannot bind unix:{path}: there is a {_kind(found.st_mode)} at this path; remove it first")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a live server with a full backlog must not make us wait
        error = probe.connect_ex(path)
    if error in (0, errno.EAGAIN, errno.EINPROGRESS, errno.EPROTOTYPE):
        raise ListenError(f"[Errno {errno.EADDRINUSE}] cannot bind unix:{path}: another process serves on it")
    if error == errno.ECONNREFUSED:
        return stat.S_IMODE(found.st_mode)
    if error == errno.ENOENT:
        return None
    raise ListenError(f"[Errno {error}] cannot bind unix:{path}: {os.strerror(error).lower()}, and it exists already")


def _inode(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


# -- inherited ---------------------------------------------------------------------------------------------------------


def passed_by_systemd(environ: MutableMapping[str, str] | None = None) -> list[Inherited]:
    """Return the sockets that sd_listen_fds(3) would find, and remove their variables: they are for this process only.

    There are none if the variables were meant for another process, say the shell that started us.
    """
    environ = os.environ if environ is None else environ
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count, names = environ.get("LISTEN_FDS", ""), environ.get("LISTEN_FDNAMES", "").split(":")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)
    if not count.isdecimal():
        raise ListenError(f"LISTEN_FDS: expected a number of sockets, got {count!r}")
    names += ["unknown"] * int(count)
    return [Inherited(_LISTEN_FDS_START + number, names[number] or "unknown") for number in range(int(count))]


_LISTEN_FDS_START = 3  # sd_listen_fds(3)


def _keep_from_children() -> None:
    """Close on exec every socket that listens: what a manager has let us inherit beside ours is not for our workers.

    circus, for one, gives each of its sockets to each of its processes; in a child of ours it would stay bound when
    circus has closed it.
    """
    try:
        found = [int(fd) for fd in os.listdir("/proc/self/fd")]
    except OSError:  # not on macOS
        return
    for fd in found:
        with contextlib.suppress(OSError):
            if fd > 2 and os.get_inheritable(fd) and stat.S_ISSOCK(os.fstat(fd).st_mode):
                with socket.socket(fileno=os.dup(fd)) as sock:
                    if is_listening(sock):
                        os.set_inheritable(fd, False)


def adopt(fd: int, *, keep_backlog: bool = True, name: str = "") -> Listener:
    """Take over the listening socket that we were started with as descriptor `fd`. Raises ListenError.

    Family and type come from the descriptor. Ours is a copy, closed on exec; what stays at `fd` is closed on exec too,
    and standard input, output and error become /dev/null: else every subprocess of the application would have it.
    """
    try:
        found = os.fstat(fd)
    except OSError as error:
        raise ListenError(f"fd {fd}: {(error.strerror or str(error)).lower()}; nothing was inherited there") from None
    except OverflowError:
        raise ListenError(f"fd {fd} is not a file descriptor") from None
    if not stat.S_ISSOCK(found.st_mode):
        what = "terminal" if os.isatty(fd) else _kind(found.st_mode)
        raise ListenError(f"fd {fd} is not a listening socket but a {what}{_way_out(fd)}")
    sock = socket.socket(fileno=_copy_above_stdio(fd))
    try:
        _must_be_able_to_listen(sock, fd)
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    if fd <= 2:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.dup2(null, fd)
        finally:
            os.close(null)
    else:
        os.set_inheritable(fd, False)
    return Listener(sock, inherited=True, keep_backlog=keep_backlog and is_listening(sock), name=name)


def _way_out(fd: int) -> str:
    if fd == 0:
        return "; under supervisor use [fcgi-program:x] with socket=, under systemd StandardInput=socket"
    return "; the program that starts us must bind it and pass it on"


def _must_be_able_to_listen(sock: socket.socket, fd: int) -> None:
    if sock.type != socket.SOCK_STREAM or sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX):
        kind = sock.type.name if isinstance(sock.type, socket.SocketKind) else sock.type
        raise ListenError(f"fd {fd} is not a TCP or UNIX stream socket but {kind} of family {sock.family!s}")
    try:
        sock.getpeername()
    except OSError:
        pass
    else:
        raise ListenError(f"fd {fd} is not a listening socket but a connection{_way_out(fd)}")
    name = sock.getsockname()
    if not is_listening(sock) and not (name[1] if isinstance(name, tuple) else name):
        raise ListenError(f"fd {fd} is a socket that is not bound to any address{_way_out(fd)}")


def _copy_above_stdio(fd: int) -> int:
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)


def _kind(mode: int) -> str:
    for test, name in _KINDS:
        if test(mode):
            return name
    return "file of an unknown kind"


_KINDS = (
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "directory"),
    (stat.S_ISFIFO, "pipe"),
    (stat.S_ISCHR, "character device"),
    (stat.S_ISBLK, "block device"),
    (stat.S_ISLNK, "symbolic link"),
    (stat.S_ISSOCK, "socket"),
)
