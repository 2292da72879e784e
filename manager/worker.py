"""The life of one worker, as the master sees it. No I/O: events in, state and action out.

    spawning -> booting (imports) -> starting (lifespan startup)
        -> ready -> draining -> stopping (lifespan shutdown) -> gone
    hung (from any live state) -> killing -> gone

Two processes look at the same life from different sides, so every report may cross an order on its way: a worker that
was just told to stop still says that it is ready. Such pairs are in the table with an action of NOTHING. A pair that is
not in the table cannot happen, and `step` says so: it is a bug in the master, never a worker's misdeed.

The table also draws the picture in docs/lifecycle.md.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    SPAWNING = "the template was asked for it; no process id yet"
    BOOTING = "the process runs and imports the application"
    STARTING = "lifespan startup runs"
    READY = "lifespan startup is complete and the worker accepts connections"
    DRAINING = "told to leave: finishes its requests"
    STOPPING = "lifespan shutdown runs"
    HUNG = "its event loop has not moved for longer than allowed"
    KILLING = "SIGKILL was sent, or waits for the process id"
    GONE = "reaped; the record is dropped"


class Event(Enum):
    FORKED = "its process id became known"
    FORK_LOST = "the template ended or could not fork: no process came of it"
    REPORTED_STARTING = "it has imported the application"
    REPORTED_READY = "it accepts connections"
    REPORTED_LEAVING = "it drains by itself: somebody sent it a stop signal"
    REPORTED_STOPPING = "its connections are done"
    RETIRE_WANTED = "others serve on; this one is to leave without losing a request"
    STOP_WANTED = "everything stops"
    CANCEL_WANTED = "it may not wait for its requests any longer"
    FORCE_WANTED = "it may not even clean up"
    KILL_WANTED = "a limit has passed"
    LOOP_BLOCKED = "its heartbeat is too old"
    LOOP_MOVED = "its heartbeat is back"
    EXITED = "the process ended and was reaped"


class Action(Enum):
    NOTHING = "nothing"
    SEND_TERM = "SIGTERM: it has no event loop yet that could read a command"
    SEND_RETIRE = "command: retire"
    SEND_STOP = "command: stop"
    SEND_CANCEL = "command: cancel requests"
    SEND_FORCE = "command: leave at once"
    SEND_KILL = "SIGKILL"
    DIAGNOSE = "log its stacks and the requests inside it"
    REPORT_FORGOTTEN = "it was asked to go: log, forget"
    REPORT_FAILED = "it never became ready: log, back off"
    REPORT_CRASHED = "it was ready and nobody asked it to go: log, replace"


S, E, A = State, Event, Action

COMING = frozenset({S.SPAWNING, S.BOOTING, S.STARTING})
"""Will be ready unless something goes wrong."""
LEAVING = frozenset({S.DRAINING, S.STOPPING, S.KILLING})
"""Will be gone; counts for nothing but the time that it may still take."""

_ORDERS = {
    # What a worker that can read commands is told, and where that leaves it.
    E.RETIRE_WANTED: (S.DRAINING, A.SEND_RETIRE),
    E.STOP_WANTED: (S.DRAINING, A.SEND_STOP),
    E.CANCEL_WANTED: (S.DRAINING, A.SEND_CANCEL),
    E.FORCE_WANTED: (S.DRAINING, A.SEND_FORCE),
    E.KILL_WANTED: (S.KILLING, A.SEND_KILL),
}
# An import cannot be interrupted by a command, and nothing has been started that would need an orderly end.
_ORDERS_BOOTING = dict.fromkeys(
    (E.RETIRE_WANTED, E.STOP_WANTED, E.CANCEL_WANTED, E.FORCE_WANTED), (S.DRAINING, A.SEND_TERM)
) | {E.KILL_WANTED: (S.KILLING, A.SEND_KILL)}

TRANSITIONS: dict[State, dict[Event, tuple[State, Action]]] = {
    S.SPAWNING: {
        E.FORKED: (S.BOOTING, A.NOTHING),
        E.FORK_LOST: (S.GONE, A.REPORT_FAILED),
        # There is no process to tell: whatever appears is killed.
        E.RETIRE_WANTED: (S.KILLING, A.NOTHING),
        E.STOP_WANTED: (S.KILLING, A.NOTHING),
        E.CANCEL_WANTED: (S.KILLING, A.NOTHING),
        E.FORCE_WANTED: (S.KILLING, A.NOTHING),
        E.KILL_WANTED: (S.KILLING, A.NOTHING),
    },
    S.BOOTING: {
        **_ORDERS_BOOTING,
        E.REPORTED_STARTING: (S.STARTING, A.NOTHING),
        E.REPORTED_LEAVING: (S.DRAINING, A.NOTHING),
        E.LOOP_BLOCKED: (S.BOOTING, A.NOTHING),  # no loop yet: the limit of the boot is what counts
        E.EXITED: (S.GONE, A.REPORT_FAILED),
    },
    S.STARTING: {
        **_ORDERS,
        E.REPORTED_READY: (S.READY, A.NOTHING),
        E.REPORTED_LEAVING: (S.DRAINING, A.NOTHING),
        E.REPORTED_STOPPING: (S.STOPPING, A.NOTHING),
        E.LOOP_BLOCKED: (S.STARTING, A.NOTHING),  # loading a model in the lifespan blocks for minutes, rightly
        E.EXITED: (S.GONE, A.REPORT_FAILED),
    },
    S.READY: {
        **_ORDERS,
        E.REPORTED_LEAVING: (S.DRAINING, A.NOTHING),
        E.REPORTED_STOPPING: (S.STOPPING, A.NOTHING),
        E.LOOP_BLOCKED: (S.HUNG, A.DIAGNOSE),
        E.EXITED: (S.GONE, A.REPORT_CRASHED),
    },
    S.DRAINING: {
        # A report that crossed our order changes nothing.
        E.REPORTED_STARTING: (S.DRAINING, A.NOTHING),
        E.REPORTED_READY: (S.DRAINING, A.NOTHING),
        E.REPORTED_LEAVING: (S.DRAINING, A.NOTHING),
        E.REPORTED_STOPPING: (S.STOPPING, A.NOTHING),
        # Each order is stricter than the one before; the planner never takes one back.
        E.STOP_WANTED: (S.DRAINING, A.SEND_STOP),
        E.CANCEL_WANTED: (S.DRAINING, A.SEND_CANCEL),
        E.FORCE_WANTED: (S.DRAINING, A.SEND_FORCE),
        E.KILL_WANTED: (S.KILLING, A.SEND_KILL),
        E.LOOP_BLOCKED: (S.HUNG, A.DIAGNOSE),
        E.EXITED: (S.GONE, A.REPORT_FORGOTTEN),
    },
    S.STOPPING: {
        E.REPORTED_READY: (S.STOPPING, A.NOTHING),
        E.REPORTED_LEAVING: (S.STOPPING, A.NOTHING),
        E.REPORTED_STOPPING: (S.STOPPING, A.NOTHING),
        E.RETIRE_WANTED: (S.STOPPING, A.NOTHING),  # its requests are done already
        E.STOP_WANTED: (S.STOPPING, A.NOTHING),
        E.CANCEL_WANTED: (S.STOPPING, A.NOTHING),
        E.FORCE_WANTED: (S.STOPPING, A.SEND_FORCE),
        E.KILL_WANTED: (S.KILLING, A.SEND_KILL),
        E.LOOP_BLOCKED: (S.STOPPING, A.NOTHING),  # the limit of the shutdown counts
        E.EXITED: (S.GONE, A.REPORT_FORGOTTEN),
    },
    S.HUNG: {
        # It came back: its replacement is on the way, so it leaves, but without losing what it holds.
        E.LOOP_MOVED: (S.DRAINING, A.SEND_RETIRE),
        E.REPORTED_READY: (S.HUNG, A.NOTHING),
        E.REPORTED_LEAVING: (S.DRAINING, A.NOTHING),
        E.REPORTED_STOPPING: (S.STOPPING, A.NOTHING),
        # The command waits in its channel in case that the loop moves again.
        E.RETIRE_WANTED: (S.HUNG, A.SEND_RETIRE),
        E.STOP_WANTED: (S.HUNG, A.SEND_STOP),
        E.CANCEL_WANTED: (S.HUNG, A.SEND_CANCEL),
        E.FORCE_WANTED: (S.HUNG, A.SEND_FORCE),
        E.KILL_WANTED: (S.KILLING, A.SEND_KILL),
        E.EXITED: (S.GONE, A.REPORT_CRASHED),
    },
    S.KILLING: {
        E.FORKED: (S.KILLING, A.SEND_KILL),
        E.FORK_LOST: (S.GONE, A.REPORT_FORGOTTEN),
        E.REPORTED_STARTING: (S.KILLING, A.NOTHING),
        E.REPORTED_READY: (S.KILLING, A.NOTHING),
        E.REPORTED_LEAVING: (S.KILLING, A.NOTHING),
        E.REPORTED_STOPPING: (S.KILLING, A.NOTHING),
        E.EXITED: (S.GONE, A.REPORT_FORGOTTEN),
    },
    S.GONE: {},
}


class ImpossibleEvent(RuntimeError):
    """The master fed a worker an event that its state cannot see: a bug in the master."""


def step(state: State, event: Event) -> tuple[State, Action]:
    """Return the state after `event` and what the master has to do about it.

    A late message of a worker that was reaped never comes here: its record is gone. Raises ImpossibleEvent.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise ImpossibleEvent(f"a worker that is {state.name} cannot see {event.name}") from None
