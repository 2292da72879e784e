"""A client that people use, the library websockets, against both engines; with and without compression."""

from __future__ import annotations

from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidStatus
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import connect

from .harness import ENGINES, Recorder, Served, echo

pytestmark = pytest.mark.parametrize("engine", ENGINES)

OFFERS: dict[str, Any] = {
    "default": {},
    "off": {"compression": None},
    **{
        name: {"compression": None, "extensions": [ClientPerMessageDeflateFactory(**options)]}
        for name, options in {
            "no context": {"server_no_context_takeover": True, "client_no_context_takeover": True},
            "windows of 9": {"server_max_window_bits": 9, "client_max_window_bits": 9},
            "windows of 15": {"server_max_window_bits": 15, "client_max_window_bits": 15},
            "no client window": {"client_max_window_bits": None},
        }.items()
    },
}


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS.keys())
def test_messages_come_back_whatever_was_negotiated(engine: str, offer: dict[str, Any]) -> None:
    with Served(echo, engine) as served, connect(f"ws://127.0.0.1:{served.port}/", max_size=None, **offer) as client:
        header = client.response.headers.get("Sec-WebSocket-Extensions")  # type: ignore[union-attr]
        assert (header is None) == (offer == {"compression": None})
        for message in ["", "x", "hello " * 1000, "ü€😀" * 50_000, b"", b"\x00" * 100_000, bytes(range(256)) * 300] * 2:
            client.send(message)
            assert client.recv(timeout=30) == message
        client.send(["frag", "men", "ted"])
        assert client.recv(timeout=30) == "fragmented"
        assert client.ping().wait(30)
    served.wait_for_line("connection closed")
    assert served.errors == []


def test_compression_can_be_turned_off(engine: str) -> None:
    options = {"ws_per_message_deflate": False}
    with Served(echo, engine, **options) as served, connect(f"ws://127.0.0.1:{served.port}/") as client:
        assert "Sec-WebSocket-Extensions" not in client.response.headers  # type: ignore[union-attr]
        client.send("x" * 1000)
        assert client.recv(timeout=30) == "x" * 1000


def test_subprotocol_headers_and_close(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("accept", subprotocol="chat.v2", headers=[(b"x-hello", b"world")])
        await app.send("send", text="bye")
        await app.send("close", code=4321, reason="done")

    with (
        Served(Recorder(script), engine) as served,
        connect(f"ws://127.0.0.1:{served.port}/", subprotocols=["chat.v1", "chat.v2"]) as client,  # type: ignore[list-item]
    ):
        assert client.subprotocol == "chat.v2"
        assert client.response.headers["x-hello"] == "world"  # type: ignore[union-attr]
        assert client.recv(timeout=30) == "bye"
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=30)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4321, "done")


def test_an_application_that_returns_is_a_normal_end_to_the_client(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("accept")

    with (
        Served(Recorder(script), engine) as served,
        connect(f"ws://127.0.0.1:{served.port}/") as client,
        pytest.raises(ConnectionClosedOK),
    ):
        client.recv(timeout=30)


def test_a_denial_reaches_the_client_whole(engine: str) -> None:
    async def script(app: Recorder) -> None:
        await app.send("http.response.start", status=418, headers=[(b"x-why", b"tea")])
        await app.send("http.response.body", body=b"no ", more_body=True)
        await app.send("http.response.body", body=b"coffee")

    with Served(Recorder(script), engine) as served:
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://127.0.0.1:{served.port}/")
        assert refused.value.response.status_code == 418
        assert refused.value.response.headers["x-why"] == "tea"
        assert served.errors == []
