"""Write what docs/ says of signals and of a worker's life from the tables in manager/; --check fails if it differs.

python docs/make_manager_pages.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

from uvicorn.manager.signals import COMMANDS, FOR_THE_MASTER, Command
from uvicorn.manager.worker import TRANSITIONS, Action, State

DOCS = Path(__file__).parent
BEGIN = "<!-- Written by docs/make_manager_pages.py from manager/{}: change it there. -->"
END = "<!-- End of what is written by a program. -->"


def signals() -> str:
    rows = [
        f"| `{number.name}` | {meaning.doc} |"
        for number, meaning in COMMANDS.items()
        if meaning.command is not Command.REAP
    ]
    ignored = ", ".join(f"`{number.name}`" for number in FOR_THE_MASTER)
    return "\n".join(
        [
            BEGIN.format("signals.py"),
            "| signal to the master | what happens |",
            "| --- | --- |",
            *rows,
            "",
            f"A worker takes {ignored} without doing anything: `pkill` and terminals send them to all.",
            END,
        ]
    )


def life() -> str:
    lines = [BEGIN.format("worker.py"), "```mermaid", "stateDiagram-v2", "    [*] --> SPAWNING"]
    for state, row in TRANSITIONS.items():
        targets: dict[State, list[str]] = {}
        for event, (after, _) in row.items():
            if after is not state:
                targets.setdefault(after, []).append(event.name.lower().replace("_", " "))
        lines += [f"    {state.name} --> {after.name}: {', '.join(events)}" for after, events in targets.items()]
    lines += ["    GONE --> [*]", "```", "", "| state | means |", "| --- | --- |"]
    lines += [f"| `{state.name}` | {state.value} |" for state in State]
    lines += ["", "| state | event | state after it | what the master does |", "| --- | --- | --- | --- |"]
    for state, row in TRANSITIONS.items():
        for event, (after, action) in row.items():
            deed = "" if action is Action.NOTHING else action.value
            lines.append(f"| `{state.name}` | {event.name.lower().replace('_', ' ')} | `{after.name}` | {deed} |")
    return "\n".join([*lines, END])


PAGES = {"signals.md": signals, "lifecycle.md": life}


def written(name: str) -> str:
    """Return the page with its generated part as the tables have it now."""
    text = (DOCS / name).read_text()
    before, _, rest = text.partition("<!-- Written by")
    _, _, after = rest.partition(END)
    return before + PAGES[name]() + after


def main() -> None:
    stale = [name for name in PAGES if (DOCS / name).read_text() != written(name)]
    if "--check" in sys.argv:
        if stale:
            sys.exit(f"not up to date: {', '.join(stale)}; run python docs/make_manager_pages.py")
        return
    for name in stale:
        (DOCS / name).write_text(written(name))


if __name__ == "__main__":
    main()
