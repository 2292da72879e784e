import contextlib
import socket
import threading

import pytest

from tests.support.load import LoadClient
from tests.support.processes import free_port
from tests.support.wire import Truncated, Wire, WireError


@contextlib.contextmanager
def answering(*answers: bytes, reset: bool = False):
    """A server that sends one of `answers` per connection, closes, and serves the last one for ever."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for number in range(10_000):
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                sock.recv(65536)
                with contextlib.suppress(OSError):
                    sock.sendall(answers[min(number, len(answers) - 1)])
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(30)


def read(answer: bytes, method: str = "GET"):
    with answering(answer) as port, Wire.connect(port) as wire:
        return wire.request(b"x", method)


def test_a_body_with_a_length():
    response = read(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: \t b c \t\r\n\r\nabc")
    assert (response.status, response.reason, response.body) == (200, "OK", b"abc")
    assert response.headers == [(b"content-length", b"3"), (b"x-a", b"b c")]
    assert response.framing == "length"
    assert response.keeps_alive


def test_a_chunked_body():
    response = read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\nT: v\r\n\r\n")
    assert response.body == b"abc"
    assert response.chunks == [b"a", b"bc"]
    assert response.trailers == [(b"t", b"v")]


def test_a_body_until_the_end():
    response = read(b"HTTP/1.0 200 OK\r\n\r\nabc")
    assert response.body == b"abc"
    assert response.version == "1.0"
    assert not response.keeps_alive


def test_answers_without_a_body():
    assert read(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "HEAD").body == b""
    assert read(b"HTTP/1.1 204 No Content\r\n\r\n").framing == "none"
    assert read(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n").body == b""


def test_interim_answers_come_before():
    response = read(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 \r\n\r\n")
    assert [interim.status for interim in response.interim] == [100, 103]
    assert response.status == 204
    assert response.raw.startswith(b"HTTP/1.1 100")


def test_pipelined_answers_are_read_one_by_one():
    with answering(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%b" % b"aHTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n"
    ) as port:
        wire = Wire.connect(port)
        assert wire.request(b"x").body == b"a"
        assert wire.read_response().status == 404
        assert wire.is_closed() == "eof"
        wire.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 204 \r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n X: folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 099 \r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    ],
)
def test_broken_framing_is_an_error(answer):
    with pytest.raises(WireError) as caught:
        read(answer)
    assert not isinstance(caught.value, Truncated)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
    ],
)
def test_a_short_answer_is_an_error(answer):
    with pytest.raises(Truncated, match="eof"):
        read(answer)


def test_a_reset_is_told_from_an_end():
    with answering(b"", reset=True) as port, Wire.connect(port) as wire:
        wire.send(b"x")
        assert wire.is_closed() == "reset"
    with answering(b"abc") as port, Wire.connect(port) as wire:
        wire.send(b"x")
        assert wire.is_closed() == "eof"
        assert wire.read_until_close() == b"abc"


def test_silence_ends_at_the_deadline():
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, Wire.connect(listener.getsockname()[1], timeout=0.05) as wire:
        with pytest.raises(TimeoutError, match=r"waited 0\.05 s for status line"):
            wire.read_response()
        assert wire.is_closed(within=0.01) is None


def test_a_unix_socket(tmp_path):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with Wire.connect(path) as wire:
            sock, _ = listener.accept()
            with sock:
                wire.half_close()
                assert sock.recv(10) == b""
                sock.sendall(b"abc")
            assert wire.read_until_close() == b"abc"


def test_tls(certificates):
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.certificate, certificates.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            sock, _ = listener.accept()
            with context.wrap_socket(sock, server_side=True) as secured:
                secured.recv(100)
                secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")

        thread = threading.Thread(target=serve)
        thread.start()
        with Wire.connect(listener.getsockname()[1], tls=certificates.context()) as wire:
            assert wire.request(b"x").body == b"a"
            assert wire.is_closed() == "eof"
        thread.join()


GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ngood"


def test_load_counts_good_answers():
    with answering(GOOD) as port, LoadClient(port, connections=2, pause=0.001) as load:
        load.wait_for_answers(20)
        report = load.stop()
    assert report.failures == 0
    assert report.answers >= 20
    assert report.bodies == {b"good": report.answers}
    assert report.longest_gap > 0


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (b"", "dropped"),
        (GOOD[:-1], "short"),
        (b"nonsense\r\n", "broken"),
        (GOOD.replace(b"200", b"500"), "unexpected"),
    ],
)
def test_load_counts_every_failure(bad, kind):
    with answering(bad, GOOD) as port, LoadClient(port, connections=1) as load:
        load.wait_for_answers(3)
        report = load.stop()
    assert report.failures == 1
    assert getattr(report, kind) == 1
    assert kind in str(report)


def test_load_counts_resets_and_refusals():
    with answering(b"", reset=True) as port, LoadClient(port, connections=1) as load:
        deadline = threading.Event()
        while not load.report.resets:
            assert not deadline.wait(0.01)
        report = load.stop()
    assert report.resets
    with LoadClient(free_port(), connections=1) as load:
        while not load.report.refused:
            assert not deadline.wait(0.01)
    assert load.report.refused


def test_load_notices_a_connection_closed_between_requests():
    keeping = GOOD.replace(b"Connection: close\r\n", b"")
    with answering(keeping) as port, LoadClient(port, connections=1, pause=0.5) as load:
        load.wait_for_answers(3)
        report = load.stop()
    assert report.failures == 0
    assert report.closed_idle >= 2
