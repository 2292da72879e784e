"""Who is believed, and what is then taken from X-Forwarded-For and X-Forwarded-Proto."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from uvicorn.server.proxy_headers import ProxyHeadersMiddleware, _parse_host_port, _TrustedHosts, trusted_set


def through(
    trusted: Any, *headers: tuple[str, str], peer: tuple[str, int] | None = ("127.0.0.1", 1000), kind: str = "http"
) -> dict[str, Any]:
    """The scope as the application sees it."""
    seen: list[dict[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    scope = {
        "type": kind,
        "scheme": "ws" if kind == "websocket" else "http",
        "client": peer,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
    }
    asyncio.run(ProxyHeadersMiddleware(app, trusted)(scope, None, None))
    assert seen[0] is scope, "the scope is changed in place: the access log reads it too"
    return scope


@pytest.mark.parametrize(
    ("trusted", "peer", "expected"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "10.0.0.1", False),
        ("127.0.0.1, 10.0.0.0/8", "10.1.2.3", True),
        (["10.0.0.0/8", "proxy.internal"], "proxy.internal", True),
        ("10.0.0.1/8", "10.1.2.3", False),  # host bits set: no network, so nobody is trusted by mistake
        ("fd00::/8", "fd12::1", True),
        ("127.0.0.1", "::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.0/104", "10.9.9.9", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "", False),
        ("127.0.0.1", None, False),
        ("unix:", None, True),
        ("*", None, True),
        (["*"], "8.8.8.8", True),
        ([], "127.0.0.1", False),
    ],
)
def test_trusts(trusted: Any, peer: str | None, expected: bool) -> None:
    assert ProxyHeadersMiddleware(None, trusted).trusts(peer) is expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("proto", "http", "websocket"),
    [
        ("https", "https", "wss"),
        ("http", "http", "ws"),
        ("wss", "https", "wss"),
        ("ws", "http", "ws"),
        (" HTTPS ", "https", "wss"),
        ("https, http", "http", "ws"),
        ("ftp", "http", "ws"),
        ("", "http", "ws"),
    ],
)
def test_proto_becomes_a_scheme_of_the_scopes_kind(proto: str, http: str, websocket: str) -> None:
    assert through("127.0.0.1", ("x-forwarded-proto", proto))["scheme"] == http
    assert through("127.0.0.1", ("x-forwarded-proto", proto), kind="websocket")["scheme"] == websocket


@pytest.mark.parametrize(
    ("trusted", "hops", "expected"),
    [
        ("127.0.0.1", ["1.1.1.1"], ("1.1.1.1", 0)),
        ("127.0.0.1", ["6.6.6.6, 1.1.1.1"], ("1.1.1.1", 0)),  # 6.6.6.6 is what the client says of itself
        ("127.0.0.1, 10.0.0.0/8", ["6.6.6.6, 1.1.1.1, 10.0.0.7"], ("1.1.1.1", 0)),
        ("127.0.0.1, 10.0.0.0/8", ["6.6.6.6, 1.1.1.1", "10.0.0.7"], ("1.1.1.1", 0)),
        ("127.0.0.1, 10.0.0.0/8", ["10.0.0.1, 10.0.0.2"], ("10.0.0.1", 0)),
        ("127.0.0.1, 10.0.0.0/8", ["1.1.1.1, ::ffff:10.0.0.2"], ("1.1.1.1", 0)),
        ("*", ["1.1.1.1, 2.2.2.2"], ("1.1.1.1", 0)),
        ("127.0.0.1, unix:", ["1.1.1.1, unix:"], ("1.1.1.1", 0)),
        ("127.0.0.1", ["1.1.1.1,"], ("1.1.1.1", 0)),
        ("127.0.0.1", ["1.1.1.1:5555"], ("1.1.1.1", 5555)),
        ("127.0.0.1", ["[2001:db8::1]:99"], ("2001:db8::1", 99)),
        ("127.0.0.1", ["2001:db8::1"], ("2001:db8::1", 0)),
        ("127.0.0.1", ["unknown"], ("unknown", 0)),
        ("127.0.0.1", [""], ("127.0.0.1", 1000)),
        ("127.0.0.1", [" , "], ("127.0.0.1", 1000)),
        ("127.0.0.1", ['x" 200 - forged line'], ("127.0.0.1", 1000)),
    ],
)
def test_client_is_the_rightmost_hop_that_is_not_trusted(trusted: str, hops: list[str], expected: Any) -> None:
    assert through(trusted, *(("x-forwarded-for", hop) for hop in hops))["client"] == expected


def test_untrusted_peer_changes_nothing() -> None:
    scope = through("10.0.0.1", ("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https"))
    assert (scope["client"], scope["scheme"]) == (("127.0.0.1", 1000), "http")


def test_unix_peer_is_believed_when_the_list_names_it() -> None:
    assert through("unix:", ("x-forwarded-for", "1.1.1.1"), peer=None)["client"] == ("1.1.1.1", 0)
    assert through("127.0.0.1", ("x-forwarded-for", "1.1.1.1"), peer=None)["client"] is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.2.3.4:99999", ("1.2.3.4:99999", 0)),
        ("[::1", ("[::1", 0)),
        ("[::1]:x", ("[::1]:x", 0)),
        ("[::1]", ("::1", 0)),
        ("unix:", ("unix:", 0)),
        ("a:b", ("a:b", 0)),
        ("name:80", ("name", 80)),
        ("1.2.3.4:\u0661", ("1.2.3.4:\u0661", 0)),
    ],
)
def test_parse_host_port(text: str, expected: tuple[str, int]) -> None:
    assert _parse_host_port(text) == expected


def test_table_of_verdicts_is_bounded() -> None:
    trusted = _TrustedHosts("10.0.0.0/8")
    for number in range(10_000):
        assert f"11.0.{number >> 8}.{number & 255}" not in trusted
    assert len(trusted._verdicts) <= 4096


def test_the_same_hosts_are_looked_up_once_and_others_are_not_taken_for_them() -> None:
    assert trusted_set("10.0.0.0/8, a.example") is trusted_set("10.0.0.0/8, a.example")
    assert trusted_set(["10.0.0.0/8"]) is trusted_set(["10.0.0.0/8"])
    assert ProxyHeadersMiddleware(None, "10.0.0.0/8").trusted_hosts is trusted_set("10.0.0.0/8")  # type: ignore[arg-type]
    assert "10.1.2.3" in trusted_set("10.0.0.0/8")
    assert "10.1.2.3" not in trusted_set("11.0.0.0/8")


def test_a_list_that_changes_afterwards_is_another_one() -> None:
    hosts = ["10.0.0.1"]
    before = trusted_set(hosts)
    hosts.append("10.0.0.2")
    assert "10.0.0.2" not in before
    assert "10.0.0.2" in trusted_set(hosts)


@pytest.mark.parametrize("everybody", ["*", ["*"], ("*",)])
def test_everybody_is_trusted_by_text_and_by_list(everybody: Any) -> None:
    assert trusted_set(everybody).always_trust
    assert not trusted_set(["*", "10.0.0.1"]).always_trust


def test_only_the_last_few_lists_are_remembered() -> None:
    first = trusted_set("10.9.9.9")
    for number in range(100):
        trusted_set(f"10.9.0.{number}")
    assert trusted_set("10.9.9.9") is not first
