"""Classes that hold values, without `dataclasses`: that imports `inspect`, and compiles code for each of them, in every
process that starts. What is not to change is a `NamedTuple`; for the rest this is the base."""

from __future__ import annotations


class Record:
    """Is equal to another of its class with the same values, and shows them; they are what `__slots__` names."""

    __slots__: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.__slots__)})"
