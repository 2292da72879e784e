from __future__ import annotations

import os
import socket
import sys

import pytest

from uvicorn.holders import listening_inodes, who_listens

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 4343 1 0 20 4 30 10 -1
   2: 00000000:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4444 1 0 100 0 0 10 0
"""


def test_only_listening_sockets_of_the_port_count():
    assert listening_inodes(TABLE, 8080) == ["4242"]
    assert listening_inodes(TABLE, 8081) == ["4444"]
    assert listening_inodes(TABLE, 80) == []
    assert listening_inodes("", 80) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_the_process_that_listens_is_named():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        found = who_listens(listening.getsockname()[1])
    assert found is not None
    assert found.startswith(f"pid {os.getpid()} (")
    assert len(found) < 110


def test_nobody_listens_on_a_port_that_was_closed():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert who_listens(port) is None
