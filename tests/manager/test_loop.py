"""What the master waits for."""

import socket
import time

from uvicorn.manager.loop import Loop, Rank


def test_what_was_closed_by_an_earlier_event_of_the_same_turn_is_passed_over():
    loop, seen = Loop(), []
    (first, peer_of_first), (second, peer_of_second) = socket.socketpair(), socket.socketpair()

    def forget_the_second():
        seen.append("first")
        loop.unwatch(second)
        second.close()

    loop.watch(first, Rank.TEMPLATES, forget_the_second)
    loop.watch(second, Rank.WORKERS, lambda: seen.append("second"))
    peer_of_first.send(b"x")
    peer_of_second.send(b"x")
    loop.wait(time.monotonic() + 60)
    assert seen == ["first"]
    loop.close()
    for sock in (first, peer_of_first, peer_of_second):
        sock.close()
