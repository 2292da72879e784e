import errno
import os

import pytest

from uvicorn.manager.pidfile import PidFile, PidFileError


def test_the_file_holds_the_pid_and_goes_with_us(tmp_path):
    path = tmp_path / "web.pid"
    file = PidFile(str(path))
    assert path.read_text() == f"{os.getpid()}\n"
    file.close()
    assert not path.exists()


def test_a_second_server_is_refused_and_told_who_runs(tmp_path):
    first = PidFile(str(tmp_path / "web.pid"))
    with pytest.raises(PidFileError, match=rf"belongs to a server that runs \(pid {os.getpid()}\)"):
        PidFile(str(tmp_path / "web.pid"))
    first.close()


def test_a_file_that_was_left_behind_is_taken_over(tmp_path):
    path = tmp_path / "web.pid"
    path.write_text("999999999999\n")
    PidFile(str(path)).close()


def test_a_file_that_somebody_put_in_its_place_is_left_alone(tmp_path):
    path = tmp_path / "web.pid"
    file = PidFile(str(path))
    path.unlink()
    path.write_text("somebody else's")
    file.close()
    assert path.exists()


def test_a_missing_directory_is_told(tmp_path):
    with pytest.raises(PidFileError, match=r"cannot write .*: no such file or directory"):
        PidFile(str(tmp_path / "no" / "web.pid"))


def test_a_disk_that_is_full_is_told_and_no_empty_file_is_left(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(PidFileError, match=r"^pid: cannot write .*web\.pid: no space left on device$"):
        PidFile(str(tmp_path / "web.pid"))
    assert os.listdir(tmp_path) == []


def test_what_is_no_file_is_refused_and_stays(tmp_path):
    path = tmp_path / "web.pid"
    os.mkfifo(path)
    with pytest.raises(PidFileError, match=r"cannot write .*: it is not a regular file"):
        PidFile(str(path))
    assert path.exists()
