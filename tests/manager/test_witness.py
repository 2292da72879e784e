from types import SimpleNamespace

from uvicorn.manager.witness import requests_inside, split


def test_requests_are_told_in_words():
    busy = SimpleNamespace(
        cycle=SimpleNamespace(
            scope={"method": "GET", "path": "/slow", "query_string": b"a=1", "client": ("10.0.0.9", 5), "type": "http"}
        )
    )
    idle = SimpleNamespace(cycle=None)
    socket = SimpleNamespace(scope={"type": "websocket", "path": "/ws", "query_string": b"", "client": None})
    server = SimpleNamespace(server_state=SimpleNamespace(connections=[busy, idle, socket]))
    assert requests_inside(server) == ["GET /slow?a=1 from 10.0.0.9:5", "WEBSOCKET /ws"]


def test_requests_and_stacks_are_told_apart():
    assert split("Current thread\n  File x\nrequest: GET /\n") == (["GET /"], "Current thread\n  File x")
    assert split("") == ([], "")
