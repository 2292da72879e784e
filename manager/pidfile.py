"""A file that says which process is the master, locked for as long as it lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat

from uvicorn.errors import UsersError


class PidFileError(UsersError):
    """The pid file cannot be written, or another master holds it."""


class PidFile:
    def __init__(self, path: str) -> None:
        """Take the file. Raises PidFileError; a file that a dead master has left is taken over."""
        self.path = os.path.abspath(path)
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
        except OSError as error:
            raise _cannot_write(path, error) from None
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):  # a device, a pipe: nothing of ours to remove at the end
            os.close(self._fd)
            raise PidFileError(f"pid: cannot write {path}: it is not a regular file")
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(self._fd, 20, 0).decode(errors="replace").strip() or "?"
            os.close(self._fd)
            raise PidFileError(f"pid: {path} belongs to a server that runs (pid {owner})") from None
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:  # the disk is full
            self.close()
            raise _cannot_write(path, error) from None

    @classmethod
    def adopt(cls, path: str, fd: int) -> PidFile:
        """Return the file that this process has held since before an upgrade."""
        self = cls.__new__(cls)
        self.path, self._fd = path, fd
        return self

    def fileno(self) -> int:
        return self._fd

    def close(self) -> None:
        """Remove the file, if it is still the one that we locked."""
        with contextlib.suppress(OSError):
            ours, there = os.fstat(self._fd), os.stat(self.path)
            if (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino):
                os.unlink(self.path)
        os.close(self._fd)


def _cannot_write(path: str, error: OSError) -> PidFileError:
    return PidFileError(f"pid: cannot write {path}: {(error.strerror or str(error)).lower()}")
