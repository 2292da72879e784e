"""Random lives of connections: clients that pipeline, dawdle and leave, applications that read, stream, fail and wait.

Whatever both do, answers come in order and belong to their requests, what is complete on the wire is what the
application sent, and nothing is left when the client has gone. An independent client (h11) reads the answers.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h11
import pytest

from .conftest import PARSERS
from .loopback import Client, Loopback
from .test_segmentation import run

STEPS = "rRzZ"
"""Receive once; receive all; let the loop turn once, or a few times."""


@dataclass
class Plan:
    """One request and what its application does: its letters are in the query string."""

    number: int
    method: str
    version: str
    raw: bytes
    script: str
    request_body: bytes
    """What the application must have seen when it has read all."""

    @property
    def body(self) -> bytes:
        return b"".join({"b": b"%d," % self.number, "B": b"x" * 70_000}.get(letter, b"") for letter in self.script)

    @property
    def never_ends(self) -> bool:
        """The application fails before its answer is known to be whole."""
        return "s" in self.script and "x" in self.script.partition("e")[0] and self.method != "HEAD"


def make_plan(chance: random.Random, number: int) -> Plan:
    """Reading and resting between a start, pieces of a body and an end; sometimes a failure, or a wait for ever."""

    def idle() -> str:
        return "".join(chance.choices(STEPS, k=chance.choice((0, 0, 1, 2))))

    pieces = "".join(idle() + chance.choice("bbbB") for _ in range(chance.choice((0, 1, 1, 2, 4))))
    script = idle() + chance.choice("sl") + pieces + idle() + "e" + idle()
    if chance.random() < 0.15:
        at = chance.randrange(len(script))
        script = script[:at] + chance.choice("xw") + script[at:]
    method = chance.choice(["GET", "POST", "POST", "HEAD", "PUT"])
    version = chance.choice(["1.1", "1.1", "1.1", "1.0"])
    content = chance.randbytes(chance.choice((0, 1, 10, 1_000, 100_000))) if method in ("POST", "PUT") else b""
    fields = ["Host: a", f"X: {chance.random()}"]
    if version == "1.0":
        fields.append("Connection: keep-alive")
    elif chance.random() < 0.05:
        fields.append("Connection: close")
    if chance.random() < 0.1:
        fields.append("Connection: upgrade\r\nUpgrade: foo")
    body = content
    if content and version == "1.1" and chance.random() < 0.5:
        fields.append("Transfer-Encoding: chunked")
        at = chance.randrange(len(content) + 1)
        body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (content[:at], content[at:]) if part)
        body += b"0\r\n\r\n"
    elif content or method != "GET":
        fields.append(f"Content-Length: {len(content)}")
    if content and chance.random() < 0.2:
        fields.append("Expect: 100-continue")
    head = f"{method} /{number}?{script} HTTP/{version}\r\n" + "".join(f"{line}\r\n" for line in fields) + "\r\n"
    return Plan(number, method, version, head.encode() + body, script, content)


CUT = re.compile("without sending complete message body|ConnectionClosed when role=SERVER|peer unexpectedly closed")
"""What h11 says of an answer that is cut short, which is no bad HTTP."""


class Application:
    """Does what the query string says, and keeps what went wrong."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.mistakes: list[str] = []
        self.started: list[int] = []

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        plan = self.plans[int(scope["path"][1:])]
        self.started.append(plan.number)
        got, whole, gone = b"", False, False

        async def receive_once() -> None:
            nonlocal got, whole, gone
            message = await receive()
            if message["type"] == "http.disconnect":
                gone = True
            elif whole:
                self.mistakes.append(f"a request event after the last: {message}")
            else:
                got += message["body"]
                whole = not message["more_body"]

        for letter in scope["query_string"].decode():
            match letter:
                case "r":
                    if not whole:
                        await receive_once()
                case "R" | "w":
                    while not gone and (letter == "w" or not whole):
                        await receive_once()
                case "z" | "Z":
                    for _ in range(1 if letter == "z" else 5):
                        await asyncio.sleep(0)
                case "s" | "l":
                    headers = [(b"x-number", b"%d" % plan.number)]
                    if letter == "l":
                        headers.append((b"content-length", b"%d" % len(plan.body)))
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                case "b" | "B":
                    data = b"%d," % plan.number if letter == "b" else b"x" * 70_000
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                case "e":
                    await send({"type": "http.response.body", "body": b""})
                case "x":
                    raise RuntimeError("asked to")
        if not plan.request_body.startswith(got) or (whole and got != plan.request_body):
            self.mistakes.append(f"{plan.number}: a body of {len(got)} instead of {len(plan.request_body)}")


def read_answers(written: bytes, plans: list[Plan], ended: bool) -> tuple[list[bytes], bool]:
    """Return the bodies of the complete answers; whether an answer after them was begun. Raises on bad HTTP."""
    bodies = []
    connection = h11.Connection(h11.CLIENT)
    connection.receive_data(written)
    if ended:
        connection.receive_data(b"")
    for plan in plans:
        connection.send(h11.Request(method=plan.method, target="/", headers=[("Host", "a")]))
        connection.send(h11.EndOfMessage())
        body, status, begun = b"", 0, False
        while True:
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError as error:
                if not CUT.search(str(error)):
                    raise
                return bodies, True
            if event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                return bodies, begun
            begun = True
            if isinstance(event, h11.Response):
                status = event.status_code
                headers = dict(event.headers)
                assert headers.get(b"x-number", b"%d" % plan.number) == b"%d" % plan.number, "somebody else's answer"
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
        if status != 200:
            assert status in (400, 500), status
            return bodies, True
        bodies.append(body)
        if connection.our_state is h11.MUST_CLOSE or connection.their_state in (h11.MUST_CLOSE, h11.CLOSED):
            assert not connection.trailing_data[0], "something after the last answer"
            return bodies, False
        connection.start_next_cycle()
    return bodies, False


async def live(client: Client, application: Application, chance: random.Random) -> None:
    """One connection, from its begin to its end."""
    plans = application.plans = [make_plan(chance, number) for number in range(chance.choice((1, 2, 3, 6)))]
    application.started = []
    raw = b"".join(plan.raw for plan in plans)
    if chance.random() < 0.2:
        raw += b"GET / HTTP/1.1\r\n\r\n"
    if chance.random() < 0.2:
        raw = raw[: chance.randrange(len(raw))]
    transport = client.connect(slow=chance.random() < 0.4)
    at = 0
    while at < len(raw) and not transport.is_closing():
        if transport.reading:
            size = chance.choice((1, 20, 200, 5_000, 65_536))
            transport.protocol.data_received(raw[at : at + size])  # type: ignore[union-attr]
            at += size
        if not await rest(client, transport, chance):
            break
    leaves = chance.choice(["half-closes", "stays", "resets"])
    if leaves == "half-closes" and not transport.is_closing():
        while not transport.reading and not transport.is_closing() and not transport.ended:
            before = len(transport.written)
            transport.take(1_000_000)
            await client.settle()
            if len(transport.written) == before:
                break  # the application waits for ever, with more requests behind it than fit
        if transport.reading and not transport.protocol.eof_received():  # type: ignore[union-attr]
            transport.close()
    if leaves != "resets":
        for _ in range(200):
            await client.settle()
            if not transport.get_write_buffer_size():
                break
            transport.take(chance.choice((100, 10_000, 1_000_000)))
    ended = transport.ended and not transport.was_reset and not transport.get_write_buffer_size()
    transport.leave()
    await client.settle()

    bodies, begun = read_answers(bytes(transport.written), plans, ended=ended)
    for plan, body in zip(plans, bodies, strict=False):
        assert body == (b"" if plan.method == "HEAD" else plan.body), plan.script
        assert not plan.never_ends, plan.script
    assert application.started == list(range(len(application.started)))
    assert len(bodies) <= len(application.started) + begun
    assert not application.mistakes
    assert not client.errors
    assert not client.state.connections
    assert not client.state.tasks, "an application that nobody told of the end"


async def rest(client: Client, transport: Loopback, chance: random.Random) -> bool:
    """Let the server work, for a moment or until it rests; let the client read. False: it waits for the application."""
    if chance.random() < 0.5:
        await client.settle()
    else:
        await asyncio.sleep(0)
    if chance.random() < 0.5 or not transport.reading:
        transport.take(chance.choice((10, 1_000, 100_000)))
        await client.settle()
    if transport.reading or transport.get_write_buffer_size() or transport.is_closing():
        return True
    # It reads no more and writes no more: that may only be for an application that waits for ever, and much to read.
    assert any("w" in plan.script for plan in client_plans(client)), "stuck"
    return False


def client_plans(client: Client) -> list[Plan]:
    application = client.config.app
    assert isinstance(application, Application)
    return [application.plans[number] for number in application.started[-1:]]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("parser", PARSERS)
def test_random_lives(parser: str, seed: int) -> None:
    async def job() -> None:
        application = Application()
        client = Client(parser, application)
        for number in range(250):
            life = f"{seed} {number}"
            try:
                await live(client, application, random.Random(life))
            except BaseException as error:
                scripts = [(plan.method, plan.version, plan.script) for plan in application.plans]
                error.add_note(f"life {life!r}: {scripts}")
                raise

    run(job)
