from __future__ import annotations

import asyncio
import sys

import pytest
import uvloop

from uvicorn.server.loops import asyncio_loop_factory, auto_loop_factory, uvloop_loop_factory


@pytest.mark.parametrize("use_subprocess", [False, True])
def test_factories_make_their_loops(use_subprocess: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for factory, kind in (
        (auto_loop_factory, uvloop.Loop),
        (uvloop_loop_factory, uvloop.Loop),
        (asyncio_loop_factory, asyncio.SelectorEventLoop),
    ):
        loop = factory(use_subprocess=use_subprocess)()
        assert isinstance(loop, kind)
        loop.close()
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert auto_loop_factory(use_subprocess=use_subprocess) is asyncio.SelectorEventLoop
