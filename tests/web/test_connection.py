import socket
import ssl
import time

import pytest

from csm.web.connection import Patience, hang_up


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_quiet_caller_is_there(pair):
    gone = hang_up({"gunicorn.socket": pair[0]})
    started = time.monotonic()
    assert [gone() for _ in range(100)] == [False] * 100
    assert time.monotonic() - started < 1


def test_pipelined_data_is_no_hang_up_and_stays_unread(pair):
    pair[1].sendall(b"GET")
    gone = hang_up({"gunicorn.socket": pair[0]})
    assert not gone() and not gone()
    assert pair[0].recv(10) == b"GET"


@pytest.mark.parametrize("leave", [socket.socket.close, lambda sock: sock.shutdown(socket.SHUT_WR)])
def test_leaving(pair, leave):
    gone = hang_up({"gunicorn.socket": pair[0]})
    leave(pair[1])
    assert gone()


def test_a_socket_that_we_closed(pair):
    pair[0].close()
    assert hang_up({"gunicorn.socket": pair[0]})()


def test_tls():
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    certificate.check_hostname = False
    listener = socket.create_server(("127.0.0.1", 0))
    theirs = socket.create_connection(listener.getsockname())
    ours = certificate.wrap_socket(listener.accept()[0], do_handshake_on_connect=False)
    with listener, theirs, ours:
        gone = hang_up({"gunicorn.socket": ours})
        assert not gone()
        theirs.close()
        deadline = time.monotonic() + 5
        while not gone():
            assert time.monotonic() < deadline
        ours.close()
        assert gone()


@pytest.mark.parametrize("environ", [{}, {"gunicorn.socket": object()}])
def test_under_other_servers_nobody_hangs_up(environ):
    assert not hang_up(environ)()


def test_patience_ends_a_read_that_blocks(pair):
    with Patience(pair[0], 0.1) as patience:
        assert pair[0].recv(10) == b""
    assert patience.lost


def test_patience_that_was_not_tried(pair):
    with Patience(pair[0], 0.1) as patience:
        pass
    time.sleep(0.2)
    pair[1].sendall(b"later")
    assert pair[0].recv(10) == b"later"
    assert not patience.lost


def test_patience_with_nobody():
    with Patience.of({}, 0.001) as patience:
        time.sleep(0.05)
    assert not patience.lost
