"""A line between two processes."""

from __future__ import annotations

from uvicorn.reload.link import Link


def test_documents_arrive_whole_and_in_order():
    ours, theirs = Link.pair()
    assert theirs.receive() == []
    ours.send({"large": "x" * 50_000})
    ours.send([1])
    assert theirs.wait() == {"large": "x" * 50_000}
    assert theirs.receive() == [[1]]
    ours.close()
    assert theirs.wait() is None
    assert theirs.at_end
    theirs.close()


def test_a_death_with_unread_mail_is_an_end():
    ours, theirs = Link.pair()
    ours.send("unread")
    theirs.close()
    assert ours.receive() == []
    assert ours.at_end
    ours.send("into the void")
    ours.close()
