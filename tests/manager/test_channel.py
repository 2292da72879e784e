import os

import pytest

from uvicorn.manager.channel import Channel
from uvicorn.manager.messages import Booting, Failed, Fork, Ready


@pytest.fixture
def pair():
    ours, theirs = Channel.pair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_packets_stay_apart_and_in_order(pair):
    ours, theirs = pair
    theirs.send(Booting(7))
    theirs.send(Ready())
    assert list(ours.pending()) == [Booting(7), Ready()]
    assert not ours.at_end


def test_an_empty_channel_is_not_at_its_end(pair):
    ours, _ = pair
    assert ours.receive() is None
    assert not ours.at_end


def test_the_end_of_the_other_side_is_seen_after_its_last_words(pair):
    ours, theirs = pair
    theirs.send(Failed("x"))
    theirs.close()
    assert list(ours.pending()) == [Failed("x")]
    assert ours.at_end


def test_an_unknown_packet_is_passed_over(pair):
    ours, theirs = pair
    theirs._sock.send(b"what?")
    theirs.send(Ready())
    assert list(ours.pending()) == [Ready()]


def test_descriptors_travel_and_belong_to_who_takes_them(pair):
    ours, theirs = pair
    reader, writer = os.pipe()
    ours.send(Fork(1, 2, 3), [writer])
    os.close(writer)
    assert theirs.receive() == Fork(1, 2, 3)
    (fd,) = theirs.fds
    theirs.fds = []
    os.write(fd, b"hello")
    os.close(fd)
    assert os.read(reader, 9) == b"hello"
    os.close(reader)


def test_descriptors_that_nobody_takes_are_closed(pair):
    ours, theirs = pair
    reader, writer = os.pipe()
    ours.send(Fork(1, 2, 3), [writer])
    os.close(writer)
    theirs.receive()
    theirs.setblocking(False)
    theirs.receive()
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_sending_to_nobody_is_no_error(pair):
    ours, theirs = pair
    theirs.close()
    assert ours.send(Ready()) is False


def test_sending_to_somebody_who_does_not_read_does_not_block(pair):
    ours, _ = pair
    assert any(not ours.send(Failed("x" * 30_000)) for _ in range(100))


def test_ends_are_not_inherited(pair):
    assert not any(os.get_inheritable(end.fileno()) for end in pair)
