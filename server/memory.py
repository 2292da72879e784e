"""What the C library does with memory that is freed."""

from __future__ import annotations

LARGEST_KEPT = 8 << 20
"""Octets of the largest block that is taken from memory which was used before; twice that may lie about unused."""


def keep_freed_memory() -> None:
    """Let the next message use the memory of the last one, instead of giving it back and asking for it anew.

    By default glibc returns what is free at the end of the heap as soon as it exceeds 128 KiB, which a message of 64
    KiB on its way through a server does: the kernel then unmaps, maps and clears the same pages for each message, a
    tenth of the time that it takes. Both limits follow the largest block that was ever freed (mallopt(3),
    M_MMAP_THRESHOLD, "dynamic"), so freeing one that nobody touched sets them. Settings of the user's own
    (MALLOC_TRIM_THRESHOLD_ and others) stay as they are, and other C libraries do what they do.
    """
    bytes(LARGEST_KEPT)
