"""The packages, each with a small application, the command of its own documentation, and questions to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .applications import (
    BENTOML,
    CHAINLIT,
    CONNEXION,
    DASH,
    DJANGO,
    FASTAPI,
    FASTHTML,
    FASTMCP,
    FLET,
    GRADIO,
    INSTRUMENTED,
    LITELLM,
    LITESTAR,
    MARIMO,
    MCP,
    NICEGUI,
    SHINY,
    SOCKETIO,
    SOLARA,
    SSE,
    STREAMLIT,
)
from .questions import (
    Question,
    accepts_websocket,
    answers_by_events,
    gets,
    greets_by_websocket,
    polls_socketio,
    serves_events,
    talks_websocket,
)


@dataclass(frozen=True)
class Case:
    name: str
    requirements: Sequence[str]
    files: Mapping[str, str]
    command: Callable[[int], Sequence[str]]
    """For a port; the first word is looked up in the environment's bin/."""
    questions: Sequence[Question]
    exits: Mapping[str, Sequence[int]] = field(default_factory=lambda: {"SIGINT": (0,), "SIGTERM": (0,)})
    """Exit statuses that are clean, by what stops it."""
    open_stream: str | None = None
    """A path whose answer does not end: it is being read when the stop comes, and must not hold it up."""
    errors_of_its_own: str | None = None
    """Tracebacks that it makes with upstream's uvicorn too, as a regular expression."""
    to_the_group: bool = False
    """Send SIGTERM to the whole group, as systemd does: the command starts uvicorn and passes no signal on to it."""
    environment: Mapping[str, str] = field(default_factory=dict)
    started: str | None = None
    """What it prints when its own start is over, if it serves before that."""


BY_SIGNAL = {"SIGINT": (0,), "SIGTERM": (-15,)}
"""A single process dies by SIGTERM, as it does without a server."""
INTERRUPTED = "KeyboardInterrupt|CancelledError"
"""It does not catch the KeyboardInterrupt that comes out of `Server.run` after Ctrl-C."""
ANSWERS_TWICE = f"{INTERRUPTED}|Expected ASGI message 'http.response.body', but got 'http.response.start'"
"""The SSE endpoint of mcp sends a second response when its stream has ended."""
PYTHON_PROGRAM = {"SIGINT": (0, 130, -2), "SIGTERM": (0, -15, 143)}
"""Programs with a main of their own may let the signal end them."""

CASES = [
    Case(
        "fastapi dev",
        ["fastapi[standard]"],
        {"main.py": FASTAPI},
        lambda port: ["fastapi", "dev", "main.py", "--port", str(port)],
        [gets("/", "world"), talks_websocket("/ws")],
    ),
    Case(
        "fastapi run --workers 2",
        ["fastapi[standard]"],
        {"main.py": FASTAPI},
        lambda port: ["fastapi", "run", "main.py", "--workers", "2", "--port", str(port)],
        [gets("/", "world"), talks_websocket("/ws")],
    ),
    Case(
        "django + channels",
        ["django", "channels", "websockets"],
        {"site_.py": DJANGO},
        lambda port: ["uvicorn", "site_:application", "--port", str(port)],
        [gets("/", "hello world"), talks_websocket("/ws")],
        BY_SIGNAL,
    ),
    Case(
        "litestar run",
        ["litestar[standard]", "websockets"],
        {"app.py": LITESTAR},
        lambda port: ["litestar", "--app", "app:app", "run", "--port", str(port)],
        [gets("/", "hello world"), talks_websocket("/ws")],
        PYTHON_PROGRAM,
    ),
    Case(
        "litestar run --reload",
        ["litestar[standard]", "websockets"],
        {"app.py": LITESTAR},
        lambda port: ["litestar", "--app", "app:app", "run", "--reload", "--port", str(port)],
        [gets("/", "hello world"), talks_websocket("/ws")],
        {"SIGINT": (0, 1), "SIGTERM": (-15,)},  # 1: "Aborted!", by click
        to_the_group=True,
    ),
    Case(
        "gradio",
        ["gradio"],
        {"demo.py": GRADIO},
        lambda port: ["python", "demo.py", str(port)],
        [
            gets("/", "gradio"),
            gets("/config", "greet"),
            answers_by_events("/gradio_api/call/greet", '{"data": ["world"]}', "hello world"),
        ],
        # Behind the answer it computes statistics in a daemon thread; the interpreter's end would kill that inside
        # native code (SIGABRT), did the server not leave it a moment.
        PYTHON_PROGRAM,
        environment={"GRADIO_ANALYTICS_ENABLED": "0"},
        started="To create a public link",
    ),
    Case(
        "nicegui",
        ["nicegui"],
        {"main.py": NICEGUI.format(reload=False)},
        lambda port: ["python", "main.py", str(port)],
        [
            gets("/", "hello world"),
            polls_socketio("/_nicegui_ws/socket.io/"),
            greets_by_websocket("/_nicegui_ws/socket.io/?EIO=4&transport=websocket", '"sid"'),
        ],
        PYTHON_PROGRAM,
        errors_of_its_own=INTERRUPTED,
    ),
    Case(
        "nicegui with reload",
        ["nicegui"],
        {"main.py": NICEGUI.format(reload=True).replace("ui.label", "if True:\n    ui.label")},
        lambda port: ["python", "main.py", str(port)],
        [
            gets("/", "hello world"),
            polls_socketio("/_nicegui_ws/socket.io/"),
            greets_by_websocket("/_nicegui_ws/socket.io/?EIO=4&transport=websocket", '"sid"'),
        ],
        PYTHON_PROGRAM,
    ),
    Case(
        "shiny run --reload",
        ["shiny"],
        {"app.py": SHINY},
        lambda port: ["shiny", "run", "--reload", "--port", str(port), "app.py"],
        [gets("/", "hello world")],
        PYTHON_PROGRAM,
    ),
    Case(
        "fastmcp, SSE",
        ["fastmcp"],
        {"server.py": FASTMCP},
        lambda port: ["python", "server.py", str(port)],
        [serves_events("/sse", "event: endpoint")],
        PYTHON_PROGRAM,
        open_stream="/sse",
        errors_of_its_own=ANSWERS_TWICE,
    ),
    Case(
        "mcp 1, SSE",
        ["mcp<2"],
        {"server.py": MCP},
        lambda port: ["python", "server.py", str(port)],
        [serves_events("/sse", "event: endpoint")],
        PYTHON_PROGRAM,
        open_stream="/sse",
        errors_of_its_own=ANSWERS_TWICE,
    ),
    Case(
        "streamlit",
        ["streamlit"],
        {"app.py": STREAMLIT},
        lambda port: [
            *("streamlit", "run", "app.py", "--server.port", str(port), "--server.headless", "true"),
            *("--browser.gatherUsageStats", "false"),
        ],
        [gets("/_stcore/health", "ok"), gets("/", "Streamlit"), accepts_websocket("/_stcore/stream")],
        PYTHON_PROGRAM,
    ),
    Case(
        "sse-starlette",
        ["sse-starlette", "starlette"],
        {"app.py": SSE},
        lambda port: ["uvicorn", "app:app", "--port", str(port)],
        [gets("/", "hello world"), serves_events("/events", "data: 3")],
        BY_SIGNAL,
        open_stream="/events",
    ),
    Case(
        "python-socketio",
        ["python-socketio", "websockets"],
        {"app.py": SOCKETIO},
        lambda port: ["uvicorn", "app:app", "--port", str(port)],
        [
            gets("/", "hello world"),
            polls_socketio("/socket.io/"),
            greets_by_websocket("/socket.io/?EIO=4&transport=websocket", '"sid"'),
        ],
        BY_SIGNAL,
    ),
    Case(
        "gunicorn -k uvicorn_worker",
        ["gunicorn", "uvicorn-worker", "fastapi", "websockets"],
        {"main.py": FASTAPI},
        lambda port: [
            *("gunicorn", "main:app", "-k", "uvicorn_worker.UvicornWorker", "-w", "2", "-b", f"127.0.0.1:{port}"),
            *("--graceful-timeout", "5", "--no-control-socket"),
        ],
        [gets("/", "world"), talks_websocket("/ws")],
    ),
    Case(
        "datasette",
        ["datasette"],
        {},
        lambda port: ["datasette", "--memory", "--port", str(port)],
        [gets("/", "_memory")],
        PYTHON_PROGRAM,
    ),
    Case(
        "marimo run",
        ["marimo"],
        {"notebook.py": MARIMO},
        lambda port: ["marimo", "run", "notebook.py", "--headless", "--port", str(port)],
        [gets("/", "marimo")],
        PYTHON_PROGRAM,
    ),
    Case(
        "bentoml serve",
        ["bentoml"],
        {"service.py": BENTOML},
        lambda port: ["bentoml", "serve", "service:Hello", "--port", str(port)],
        [gets("/healthz", ""), gets("/docs.json", "/greet")],
        environment={"BENTOML_DO_NOT_TRACK": "True"},
    ),
    Case(
        "solara run",
        ["solara"],
        {"app.py": SOLARA},
        lambda port: ["solara", "run", "app.py", "--no-open", "--port", str(port)],
        [gets("/", "Solara")],
        {"SIGINT": (1,), "SIGTERM": (-15,)},  # 1: "Aborted.", by click
    ),
    Case(
        "dash, FastAPI",
        ["dash[fastapi]"],
        {"app.py": DASH},
        lambda port: ["python", "app.py", str(port)],
        [gets("/_dash-layout", "hello world")],
        PYTHON_PROGRAM,
        errors_of_its_own=INTERRUPTED,
        to_the_group=True,
    ),
    Case(
        "chainlit run",
        ["chainlit"],
        {"app.py": CHAINLIT},
        lambda port: ["chainlit", "run", "app.py", "--headless", "--port", str(port)],
        [gets("/", "html"), polls_socketio("/ws/socket.io/")],
        PYTHON_PROGRAM,
    ),
    Case(
        "flet",
        ["flet[all]"],
        {"main.py": FLET},
        lambda port: ["uvicorn", "main:app", "--port", str(port)],
        [gets("/", "html")],
        BY_SIGNAL,
    ),
    Case(
        "chroma run",
        ["chromadb"],
        {},
        lambda port: ["chroma", "run", "--path", "data", "--port", str(port)],
        [gets("/api/v2/heartbeat", "heartbeat")],
        PYTHON_PROGRAM,
    ),
    Case(
        "connexion with reload",
        ["connexion[uvicorn]"],
        {"hello.py": CONNEXION},
        lambda port: ["python", "hello.py", str(port)],
        [gets("/", "hello world")],
    ),
    Case(
        "fasthtml",
        ["python-fasthtml"],
        {"main.py": FASTHTML},
        lambda port: ["python", "main.py", str(port)],
        [gets("/", "hello world")],
    ),
    Case(
        "litellm --num_workers 2",
        ["litellm[proxy]"],
        {"models.yaml": LITELLM},
        lambda port: ["litellm", "--config", "models.yaml", "--num_workers", "2", "--port", str(port)],
        [gets("/health/liveliness", "alive")],
        environment={
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
            "LITELLM_LOCAL_MODEL_COST_MAP": "1",
        },
    ),
    Case(
        "sentry, opentelemetry, prometheus",
        [
            "fastapi",
            "sentry-sdk",
            "opentelemetry-sdk",
            "opentelemetry-instrumentation-fastapi",
            "prometheus-fastapi-instrumentator",
        ],
        {"main.py": INSTRUMENTED},
        lambda port: ["uvicorn", "main:app", "--workers", "1", "--port", str(port)],
        [gets("/", "world"), gets("/spans", "GET /"), gets("/metrics", "http_requests_total")],
        BY_SIGNAL,
    ),
    Case(
        "ddtrace-run, two workers",
        ["ddtrace", "fastapi", "websockets"],
        {"main.py": FASTAPI},
        lambda port: ["ddtrace-run", "uvicorn", "main:app", "--workers", "2", "--port", str(port)],
        [gets("/", "world"), talks_websocket("/ws")],
        environment={
            "DD_TRACE_AGENT_URL": "http://127.0.0.1:9",
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
            "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        },
    ),
]
