import pytest

from uvicorn.manager.messages import LONGEST_TEXT, Failed, Fork, Forked, Message, Ready, decode, encode

KINDS = sorted(Message.__args__, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", KINDS)
def test_every_message_survives_the_way(kind):
    values = {"int": 7, "bool": True, "str": "why\n\N{SNOWMAN}"}
    message = kind(*(values[type] for type in kind.__annotations__.values()))
    assert decode(encode(message)) == message


@pytest.mark.parametrize("packet", [b"", b"x", b"[]", b"{}", b'["Nonsense"]', b'["Ready", 1]', b"\xff\xfe", b"7"])
def test_what_is_not_known_is_nothing(packet):
    assert decode(packet) is None


def test_a_long_text_loses_its_middle_and_fits_into_a_packet():
    message = decode(encode(Failed("a" * LONGEST_TEXT + "b" * LONGEST_TEXT)))
    assert isinstance(message, Failed)
    assert message.reason.startswith("aaa")
    assert message.reason.endswith("bbb")
    assert f"{LONGEST_TEXT} characters left out" in message.reason


def test_messages_compare_by_what_they_say():
    assert Ready() == Ready()
    assert Fork(1, 2, 3) != Fork(2, 2, 3)
    assert Forked(1, 2) != Ready()
