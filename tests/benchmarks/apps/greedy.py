"""The same application in workers that do not leave connections to each other: what the balance costs, and gives."""

from typing import Any

from bench import app

from uvicorn.server.acceptor import Acceptor

_init = Acceptor.__init__


def without_a_gate(self: Acceptor, *args: Any, **kwargs: Any) -> None:
    _init(self, *args, **{**kwargs, "gate": None})


Acceptor.__init__ = without_a_gate  # type: ignore[method-assign]

__all__ = ["app"]
