from __future__ import annotations

import socket
from typing import Any

import pytest

from uvicorn.server.utils import get_client_addr, get_local_addr, get_path_with_query_string, get_remote_addr, is_ssl


class Transport:
    def __init__(self, **extra: Any) -> None:
        self.extra = extra

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.extra.get(name, default)


@pytest.mark.parametrize(
    ("peername", "expected"),
    [(("1.2.3.4", 5), ("1.2.3.4", 5)), (("::1", 5, 0, 0), ("::1", 5)), ("", None), (None, None)],
)
def test_remote_address(peername: Any, expected: Any) -> None:
    assert get_remote_addr(Transport(peername=peername)) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("sockname", "expected"),
    [(("::1", 5, 0, 0), ("::1", 5)), ("/run/x.sock", ("/run/x.sock", None)), ("", None), (None, None)],
)
def test_local_address(sockname: Any, expected: Any) -> None:
    assert get_local_addr(Transport(sockname=sockname)) == expected  # type: ignore[arg-type]


def test_socket_is_asked_where_the_transport_does_not_know() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        transport: Any = Transport(socket=server)
        assert get_local_addr(transport) == server.getsockname()
        assert get_remote_addr(transport) is None  # not connected


def test_encrypted_is_what_has_a_context() -> None:
    assert not is_ssl(Transport())  # type: ignore[arg-type]
    assert is_ssl(Transport(sslcontext=object()))  # type: ignore[arg-type]


def test_client_as_it_is_logged() -> None:
    assert get_client_addr({"client": ("::1", 80)}) == "::1:80"
    assert get_client_addr({"client": None}) == ""


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/", b"", "/"),
        ("/a b;ü", b"x=1&y=%20", "/a%20b%3B%C3%BC?x=1&y=%20"),
        ("/", b"\x1b[31m\xff\n", "/?%1B[31m%FF%0A"),  # nothing in a log line moves the cursor or ends the line
    ],
)
def test_path_as_it_is_logged(path: str, query: bytes, expected: str) -> None:
    assert get_path_with_query_string({"path": path, "query_string": query}) == expected
