"""The listener of a service that ends."""

import socket
import sys

import pytest

from sluice.web import server


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's filter of a listener is Linux'")
def test_who_is_let_in_before_is_served_and_newcomers_are_never_reset():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        early = socket.create_connection(address)
        server._drop_newcomers(listener)
        with pytest.raises(TimeoutError):
            socket.create_connection(address, timeout=0.2)
        accepted, _ = listener.accept()
        accepted.sendall(b"served")
        assert early.recv(6) == b"served"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5.0)
    accepted.close()
    early.close()
