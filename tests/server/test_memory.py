"""Memory that is freed and needed again at once."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from uvicorn.server.memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

taken = [b"x" * size for size in (20_000, 60_000) for _ in range(300)]  # no hole is left below the end of the heap

def messages():
    return [b"x" * 65536 for _ in range(16)]

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for _ in range(100):
    messages()
before = faults()
for _ in range(1000):
    messages()
print(faults() - before)
"""


def faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, mode], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the limits are glibc's")
def test_messages_use_the_memory_of_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    assert faults("kept") < 1000 < faults("by default")
