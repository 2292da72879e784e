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
