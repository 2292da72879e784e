"""Who the client is when a proxy stands between: X-Forwarded-For and -Proto, believed only from those we trust.

X-Forwarded-For grows to the right: each proxy appends the peer it saw. So it is read from the right, past the proxies
that are trusted; the first address that is not is the client. What stands left of it was sent by that client, and may
be invented. (`*` trusts everybody, so then the leftmost is taken: right only where the proxy overwrites the header.)
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .forwarded import parse_forwarded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

UNIX_PEER = "unix:"
"""In the list of trusted hosts: any peer on a UNIX socket. As a hop: what nginx writes for such a peer."""

_REMEMBERED = 4096  # verdicts
_SCHEMES = {"http": ("http", "ws"), "https": ("https", "wss"), "ws": ("http", "ws"), "wss": ("https", "wss")}
# A hop that is no address is kept as text, but never with what could break a log line apart.
_PLAIN_TEXT = re.compile(r"[0-9A-Za-z._:\[\]%/-]+")


DEFAULT_HEADERS = ("x-forwarded-for", "x-forwarded-proto")
"""What is believed unless something else is asked for. A proxy that does not set a header passes a client's forgery on:
so each of the others is for those who know that theirs sets it."""


class ProxyHeadersMiddleware:
    """Puts the client and the scheme that a trusted proxy names into the scope, in place; on request the host too."""

    def __init__(
        self,
        app: ASGIApp,
        trusted_hosts: list[str] | str = "127.0.0.1",
        headers: Iterable[str] = DEFAULT_HEADERS,
    ) -> None:
        self.app = app
        self.trusted_hosts = trusted_set(trusted_hosts)
        self.headers = frozenset(name.strip().lower().encode() for name in headers)

    def trusts(self, client_host: str | None) -> bool:
        """Say whether headers from this peer are believed; None is a peer on a UNIX socket."""
        return client_host in self.trusted_hosts

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            self._rewrite(scope)
        await self.app(scope, receive, send)

    def _rewrite(self, scope: MutableMapping[str, Any]) -> None:
        said: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            if name in self.headers:
                said.setdefault(name, []).append(value)
        if not said:
            return
        client = scope.get("client")
        if not self.trusts(client[0] if client else None):
            return
        if b"forwarded" in said:  # whoever asked for it means it: the older ones do not count beside it
            self._believe_forwarded(scope, _joined(said[b"forwarded"]))
            return
        if b"x-forwarded-proto" in said:
            _set_scheme(scope, said[b"x-forwarded-proto"][-1].decode("latin-1"))
        if b"x-forwarded-for" in said:
            found = self.trusted_hosts.get_trusted_client_address(_joined(said[b"x-forwarded-for"]))
            if found is not None:
                scope["client"] = found
        host, port = (_last(said.get(name)) for name in (b"x-forwarded-host", b"x-forwarded-port"))
        if host or port:
            _set_host(scope, host, port)

    def _believe_forwarded(self, scope: MutableMapping[str, Any], value: str) -> None:
        elements = parse_forwarded(value)
        if not elements:
            return
        # From the right, past the proxies that are trusted: what the last of them wrote is what it saw itself.
        chosen = elements[0]
        if not self.trusted_hosts.always_trust:
            for element in reversed(elements):
                if "for" not in element or _parse_host_port(element["for"])[0] not in self.trusted_hosts:
                    chosen = element
                    break
        if "for" in chosen:
            client = _parse_host_port(chosen["for"])
            if _PLAIN_TEXT.fullmatch(client[0]):
                scope["client"] = client
        if "proto" in chosen:
            _set_scheme(scope, chosen["proto"])
        if "host" in chosen:
            _set_host(scope, chosen["host"], "")


def _joined(values: list[bytes]) -> str:
    return b", ".join(values).decode("latin-1")


def _last(values: list[bytes] | None) -> str:
    """Return the last item of a list: the nearest proxy's."""
    return (_parse_raw_hosts(_joined(values)) or [""])[-1] if values else ""


def _set_scheme(scope: MutableMapping[str, Any], proto: str) -> None:
    schemes = _SCHEMES.get(proto.strip().lower())
    if schemes is not None:
        scope["scheme"] = schemes[scope["type"] == "websocket"]


def _set_host(scope: MutableMapping[str, Any], host: str, port: str) -> None:
    """Put the host that the client asked for into `server` and the Host header; an empty text leaves what is there."""
    before = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    name, own_port = _parse_host_port(host or before)
    if not name or not _PLAIN_TEXT.fullmatch(name):
        return
    number = _port(port) if port else own_port
    if number is None:
        return
    usual = 443 if scope["scheme"] in ("https", "wss") else 80
    bracketed = f"[{name}]" if ":" in name else name
    value = bracketed if number in (0, usual) else f"{bracketed}:{number}"
    scope["headers"] = [(b"host", value.encode()), *(field for field in scope["headers"] if field[0] != b"host")]
    scope["server"] = (name, number or usual)


class _TrustedHosts:
    """A set of addresses, networks and names; the question is `host in trusted`."""

    def __init__(self, trusted_hosts: tuple[str, ...] | str) -> None:
        self.always_trust = trusted_hosts in ("*", ("*",))
        self.trusted_literals: set[str] = set()
        self.trusted_hosts: set[Address] = set()
        self.trusted_networks: set[Network] = set()
        self._verdicts: dict[str, bool] = {}
        if self.always_trust:
            return
        for item in _parse_raw_hosts(trusted_hosts) if isinstance(trusted_hosts, str) else trusted_hosts:
            self._add(item.strip())

    def _add(self, item: str) -> None:
        try:
            if "/" in item:
                self.trusted_networks.add(_unmapped_network(ipaddress.ip_network(item)))
            else:
                self.trusted_hosts.add(_unmapped(ipaddress.ip_address(item)))
        except ValueError:
            self.trusted_literals.add(item)

    def __contains__(self, host: str | None) -> bool:
        if self.always_trust:
            return True
        if host is None:
            host = UNIX_PEER
        elif not host:
            return False
        verdict = self._verdicts.get(host)
        if verdict is None:
            verdict = self._judge(host)
            if len(self._verdicts) >= _REMEMBERED:
                self._verdicts.clear()
            self._verdicts[host] = verdict
        return verdict

    def _judge(self, host: str) -> bool:
        if host in self.trusted_literals:
            return True
        try:
            address = _unmapped(ipaddress.ip_address(host))
        except ValueError:
            return False
        return address in self.trusted_hosts or any(address in network for network in self.trusted_networks)

    def get_trusted_client_address(self, x_forwarded_for: str) -> tuple[str, int] | None:
        """Return the client's host and port as the header tells it, port 0 where it does not; None: it tells none."""
        hops = _parse_raw_hosts(x_forwarded_for)
        if not hops:
            return None
        client = _parse_host_port(hops[0])
        if not self.always_trust:
            for hop in reversed(hops):
                parsed = _parse_host_port(hop)
                if parsed[0] not in self:
                    client = parsed
                    break
        return client if _PLAIN_TEXT.fullmatch(client[0]) else None


def trusted_set(hosts: list[str] | str) -> _TrustedHosts:
    """Return the set of these hosts; of the same text the same one, also in processes that are forked later."""
    return _trusted(hosts if isinstance(hosts, str) else tuple(hosts))


_trusted = functools.lru_cache(maxsize=16)(_TrustedHosts)


def _parse_raw_hosts(value: str) -> list[str]:
    """Split a list at its commas; empty items are dropped."""
    return [item for item in map(str.strip, value.split(",")) if item]


def _parse_host_port(value: str) -> tuple[str, int]:
    """Return host and port of `1.2.3.4`, `1.2.3.4:99`, `::1`, `[::1]`, `[::1]:99` or `name:99`; port 0 for none.

    What has none of these forms is returned as it is, with port 0.
    """
    if value.startswith("["):
        host, bracket, rest = value[1:].partition("]")
        if bracket and not rest:
            return host, 0
        if bracket and rest.startswith(":") and (port := _port(rest[1:])) is not None:
            return host, port
        return value, 0
    host, colon, rest = value.partition(":")
    if colon and host and (port := _port(rest)) is not None:  # with a second colon it is IPv6, and not a number
        return host, port
    return value, 0


def _port(text: str) -> int | None:
    if text.isascii() and text.isdigit() and len(text) <= 5 and (port := int(text)) <= 65535:
        return port
    return None


def _unmapped(address: Address) -> Address:
    """Return the IPv4 address of `::ffff:1.2.3.4`: that is what a client of a dual-stack socket has."""
    return getattr(address, "ipv4_mapped", None) or address


def _unmapped_network(network: Network) -> Network:
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < 96:
        return network
    return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
