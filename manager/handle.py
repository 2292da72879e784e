"""A worker as the master sees it: the record of one incarnation. No I/O: the master acts on what `feed` returns."""

from __future__ import annotations

from typing import Any

from .plan import Order, WorkerView
from .worker import Action, Event, State, step

ORDER_EVENTS = {
    Order.RETIRE: Event.RETIRE_WANTED,
    Order.STOP: Event.STOP_WANTED,
    Order.CANCEL: Event.CANCEL_WANTED,
    Order.FORCE: Event.FORCE_WANTED,
    Order.KILL: Event.KILL_WANTED,
}


class WorkerHandle:
    """One incarnation of a worker. Two are never equal."""

    __slots__ = (
        "board",
        "born",
        "channel",
        "dump_fd",
        "failure",
        "fit",
        "generation",
        "id",
        "inside",
        "listening",
        "measured_at",
        "order",
        "order_since",
        "ordered_at",
        "pid",
        "process",
        "ready_at",
        "row",
        "settled",
        "since",
        "slot",
        "state",
        "why",
    )

    def __init__(self, id: int, slot: int, generation: int, born: float) -> None:
        self.id = id
        """Counts incarnations over the master's life: a late message can never be taken for another worker's."""
        self.slot = slot
        self.generation = generation
        self.born = born
        self.state = State.SPAWNING
        self.since = born
        self.order = Order.NONE
        self.ordered_at = 0.0
        self.order_since = 0.0
        self.ready_at: float | None = None
        self.fit = True
        self.why = ""
        """Why it was told to go, in words; empty when it was not, or when the operator knows."""
        self.pid: int | None = None
        self.failure: str | None = None
        """What it reported about its failed boot."""
        self.settled = False
        """It has been ready long enough to count as healthy."""
        self.listening = False
        """It accepts, or may: it was ready, and has not yet acknowledged that its listeners are closed."""
        self.process: Any = None
        self.channel: Any = None
        self.inside = ""
        """The oldest request inside it when it died, in words."""
        self.board: Any = None
        self.row: int | None = None
        """Its row in the scoreboard of its generation."""
        self.dump_fd: int | None = None
        """The file in which it answers when it is asked where it is stuck."""
        self.measured_at = 0.0

    def feed(self, event: Event, now: float) -> Action:
        """Take an event; return what the master has to do about it."""
        state, action = step(self.state, event)
        if state is not self.state:
            self.state, self.since = state, now
            if state is State.READY:
                self.ready_at = now
                self.listening = True
            elif state is State.STOPPING:
                self.listening = False
        return action

    def tell(self, order: Order, now: float, why: str = "") -> Action:
        """Give a stricter order; return how it is delivered."""
        if self.order is Order.NONE:
            self.ordered_at = now
        self.order, self.order_since = order, now
        self.why = why or self.why
        return self.feed(ORDER_EVENTS[order], now)

    @property
    def view(self) -> WorkerView:
        return WorkerView(
            id=self.id,
            slot=self.slot,
            generation=self.generation,
            state=self.state,
            born=self.born,
            since=self.since,
            order=self.order,
            ordered_at=self.ordered_at,
            order_since=self.order_since,
            was_ready=self.ready_at is not None,
            fit=self.fit,
            listening=self.listening,
        )

    def to_json(self) -> dict[str, Any]:
        """Return what another program needs to know to take this worker over."""
        values = {name: getattr(self, name) for name in _PLAIN}
        return values | {
            "state": self.state.name,
            "order": int(self.order),
            "channel": self.channel.fileno(),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> WorkerHandle:
        """Return the worker without channel, process and scoreboard, which the caller opens."""
        handle = cls(id=values["id"], slot=values["slot"], generation=values["generation"], born=values["born"])
        for name in _PLAIN:
            setattr(handle, name, values[name])
        handle.state, handle.order = State[values["state"]], Order(values["order"])
        return handle

    def __str__(self) -> str:
        return f"Worker {self.slot} (pid {self.pid})" if self.pid else f"Worker {self.slot}"


_PLAIN = (
    "id",
    "slot",
    "generation",
    "born",
    "since",
    "ordered_at",
    "order_since",
    "ready_at",
    "fit",
    "why",
    "pid",
    "settled",
    "listening",
    "row",
    "dump_fd",
    "measured_at",
)
