"""Servers started by a script instead of the command."""

from __future__ import annotations

import json
import signal
import sys
import textwrap

import pytest

from tests.support.load import LoadClient
from tests.support.processes import Running, free_port
from tests.support.wire import Wire

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

APP = """
import json, os

async def app(scope, receive, send):
    assert scope["type"] == "http"
    body = json.dumps({"pid": os.getpid(), "prefix": scope["root_path"]}).encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})
"""


@pytest.fixture
def script(tmp_path):
    def start(source: str) -> Running:
        (tmp_path / "m.py").write_text(APP)
        (tmp_path / "serve.py").write_text(textwrap.dedent(source))
        return Running("serve.py", free_port(), cwd=tmp_path, command=[sys.executable])

    return start


def pids(running: Running, count: int) -> set[int]:
    """Ask over new connections until `count` processes have answered."""
    with LoadClient(("127.0.0.1", int(running.args[-1])), connections=4, keep_alive=False) as asking:
        for _ in range(60):
            asking.wait_for_answers(10)
            found = {json.loads(body)["pid"] for body in list(asking.report.bodies)}
            if len(found) == count:
                break
        assert asking.stop().failures == 0, asking.report
    assert len(found) == count
    return found


def headers(running: Running) -> dict[bytes, bytes]:
    with Wire.connect(("127.0.0.1", int(running.args[-1]))) as wire:
        return dict(wire.request(GET).headers)


def test_run_with_workers(script):
    source = """
        import sys, uvicorn
        if __name__ == "__main__":
            uvicorn.run("m:app", port=int(sys.argv[1]), workers=2, headers=[("X-Own", "1")], root_path="/r")
            print("returned", flush=True)
    """
    with script(source) as running:
        running.wait_for("Started server process", count=2)
        assert running.pid not in pids(running, 2)
        assert headers(running)[b"x-own"] == b"1"
        running.signal(signal.SIGINT)
        assert running.wait() == 0
        running.wait_for("^returned$")


def test_a_config_subclass_of_the_script_reaches_the_workers(script):
    source = """
        import sys, uvicorn
        from uvicorn.supervisors import Multiprocess

        class Marked(uvicorn.Config):
            def __init__(self, *args, mark, **kw):
                super().__init__(*args, **kw)
                self.mark = mark

            def load(self):
                super().load()
                self.encoded_headers.append((b"x-mark", self.mark.encode()))

        if __name__ == "__main__":
            config = Marked("m:app", port=int(sys.argv[1]), workers=2, mark="of the script")
            sock = config.bind_socket()
            Multiprocess(config, sockets=[sock]).run()
    """
    with script(source) as running:
        running.wait_for("Started server process", count=2)
        pids(running, 2)
        assert headers(running)[b"x-mark"] == b"of the script"
        running.signal(signal.SIGTERM)
        assert running.wait() == 0


def test_an_app_object_cannot_have_workers(script):
    source = """
        import sys, uvicorn
        from m import app
        if __name__ == "__main__":
            uvicorn.run(app, port=int(sys.argv[1]), workers=2)
    """
    with script(source) as running:
        assert running.wait() == 3
        assert "You must pass the application as an import string to enable 'reload' or 'workers'." in running.log


def test_an_app_object_in_this_process(script):
    source = """
        import sys, uvicorn
        from m import app
        uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
        print("returned", flush=True)
    """
    with script(source) as running:
        port = int(running.args[-1])
        with LoadClient(port, connections=1) as asking:
            while not asking.report.answers:
                assert running.process.poll() is None, running.log
                asking._stopping.wait(0.01)
        assert list(asking.report.bodies) == [json.dumps({"pid": running.pid, "prefix": ""}).encode()]
        running.signal(signal.SIGINT)
        assert running.wait() == 0
        assert running.log == "returned\n"


def test_serving_inside_a_running_loop(script):
    source = """
        import asyncio, sys, uvicorn

        async def main():
            server = uvicorn.Server(uvicorn.Config("m:app", port=int(sys.argv[1])))
            serving = asyncio.create_task(server.serve())
            while not server.started:
                await asyncio.sleep(0.01)
            print("up", flush=True)
            while not server.server_state.total_requests:
                await asyncio.sleep(0.01)
            server.should_exit = True
            await serving
            print("down", flush=True)

        asyncio.run(main())
    """
    with script(source) as running:
        running.wait_for("^up$")
        headers(running)
        running.wait_for("^down$")
        assert running.wait() == 0


def test_serving_in_a_thread(script):
    source = """
        import sys, threading, time, uvicorn
        server = uvicorn.Server(uvicorn.Config("m:app", port=int(sys.argv[1])))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        print("up", flush=True)
        while not server.server_state.total_requests:
            time.sleep(0.01)
        server.should_exit = True
        thread.join()
        print("down", flush=True)
    """
    with script(source) as running:
        running.wait_for("^up$")
        headers(running)
        running.wait_for("^down$")
        assert running.wait() == 0


@pytest.mark.parametrize("how", ["workers=2", "reload=True", "manager=True"])
def test_what_needs_signals_says_so_in_a_thread(script, how):
    source = f"""
        import sys, threading, uvicorn

        def serve():
            try:
                uvicorn.run("m:app", port=int(sys.argv[1]), {how})
            except ValueError as error:
                print("ValueError:", error, flush=True)

        if __name__ == "__main__":
            thread = threading.Thread(target=serve)
            thread.start()
            thread.join()
    """
    with script(source) as running:
        assert running.wait() == 0
        running.wait_for("^ValueError: uvicorn.run.. with workers, manager or reload works only in the main thread")
        assert "running on" not in running.log


def test_run_inside_a_running_loop_says_what_to_do(script):
    source = """
        import asyncio, sys, uvicorn

        async def cell():
            try:
                uvicorn.run("m:app", port=int(sys.argv[1]))
            except RuntimeError as error:
                print("RuntimeError:", error, flush=True)
            server = uvicorn.Server(uvicorn.Config("m:app", port=int(sys.argv[1]), limit_max_requests=0))
            await server.serve()
            print("served", flush=True)

        asyncio.run(cell())
    """
    with script(source) as running:
        assert running.wait() == 0
        running.wait_for("^RuntimeError: .*`await uvicorn.Server")
        running.wait_for("^served$")


@pytest.mark.parametrize("how", ["workers=2", "reload=True", "workers=1"])
def test_run_inside_pytest(tmp_path, how):
    """Signal handlers are those of pytest again, and nothing is left."""
    (tmp_path / "m.py").write_text(APP)
    (tmp_path / "test_it.py").write_text(
        textwrap.dedent(f"""
        import os, signal, threading, urllib.request
        import uvicorn

        def test_it():
            before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
            def ask():
                while True:
                    try:
                        urllib.request.urlopen("http://127.0.0.1:PORT/", timeout=30).read()
                        break
                    except OSError:
                        threading.Event().wait(0.05)
                os.kill(os.getpid(), signal.SIGINT)
            asking = threading.Thread(target=ask)
            asking.start()
            uvicorn.run("m:app", port=PORT, {how})
            asking.join()
            assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
        """).replace("PORT", str(free_port()))
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    with Running(cwd=tmp_path, command=command, env={"PYTHONPATH": str(tmp_path)}) as running:
        assert running.wait(60) == 0, running.log
        running.wait_for("1 passed")
