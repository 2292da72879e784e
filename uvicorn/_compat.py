"""What differs between Python versions, and names that other packages import from here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncio

_T = TypeVar("_T")


def iscoroutinefunction(func: Any) -> bool:
    """Return whether calling `func` gives a coroutine, also for functions marked as such (asgiref does)."""
    if type(func) is FunctionType and func.__code__.co_flags & inspect.CO_COROUTINE:
        return True  # as it nearly always is
    # asyncio's marker of old, without importing asyncio: inspect.markcoroutinefunction came with 3.12
    return inspect.iscoroutinefunction(func) or getattr(func, "_is_coroutine", None) is not None


def asyncio_run(
    main: Coroutine[Any, Any, _T],
    *,
    debug: bool = False,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> _T:
    """Run `main` as asyncio.run() does, in a loop of `loop_factory` (None: asyncio's choice)."""
    import asyncio

    with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main)
