import socket
import ssl
import threading
import time

import pytest

from csm.web.disconnect import read_deadline, watch, write_deadline
from tests.polling import wait_until


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_quiet_client_is_connected(pair):
    is_disconnected = watch({"gunicorn.socket": pair[0]})
    assert [is_disconnected() for _ in range(100)] == [False] * 100


def test_pipelined_data_is_no_disconnect_and_stays_unread(pair):
    pair[1].sendall(b"GET")
    is_disconnected = watch({"gunicorn.socket": pair[0]})
    assert not is_disconnected() and not is_disconnected()
    assert pair[0].recv(10) == b"GET"


@pytest.mark.parametrize("leave", [socket.socket.close, lambda sock: sock.shutdown(socket.SHUT_WR)])
def test_a_client_that_closes_its_side_is_disconnected(pair, leave):
    is_disconnected = watch({"gunicorn.socket": pair[0]})
    leave(pair[1])
    assert is_disconnected()


def test_a_socket_that_the_server_closed_is_disconnected(pair):
    pair[0].close()
    assert watch({"gunicorn.socket": pair[0]})()


def test_a_client_that_closes_a_tls_connection_is_disconnected():
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    certificate.check_hostname = False
    listener = socket.create_server(("127.0.0.1", 0))
    theirs = socket.create_connection(listener.getsockname())
    ours = certificate.wrap_socket(listener.accept()[0], do_handshake_on_connect=False)
    with listener, theirs, ours:
        is_disconnected = watch({"gunicorn.socket": ours})
        assert not is_disconnected()
        theirs.close()
        wait_until(is_disconnected)
        ours.close()
        assert is_disconnected()


@pytest.mark.parametrize("environ", [{}, {"gunicorn.socket": object()}])
def test_under_other_servers_a_client_counts_as_connected(environ):
    assert not watch(environ)()


def test_a_read_that_blocks_ends_at_the_deadline(pair):
    with read_deadline({"gunicorn.socket": pair[0]}, 0.1) as expired:
        assert pair[0].recv(10) == b""
    assert expired.is_set()


def test_a_read_that_ends_before_the_deadline_leaves_the_socket_open(pair):
    with read_deadline({"gunicorn.socket": pair[0]}, 0.1) as expired:
        pass
    time.sleep(0.2)
    pair[1].sendall(b"later")
    assert pair[0].recv(10) == b"later"
    assert not expired.is_set()


def test_a_write_that_blocks_ends_at_the_deadline(pair):
    expired = threading.Event()
    write_deadline({"gunicorn.socket": pair[0]}, 0.1, expired.set)
    with pytest.raises(BrokenPipeError):
        pair[0].sendall(bytes(10_000_000))
    assert expired.is_set()


def test_a_write_that_ends_before_the_deadline_leaves_the_socket_open(pair):
    cancel = write_deadline({"gunicorn.socket": pair[0]}, 0.1, pytest.fail)
    cancel()
    time.sleep(0.2)
    pair[0].sendall(b"later")
    assert pair[1].recv(10) == b"later"


def test_without_a_socket_there_is_no_deadline():
    with read_deadline({}, 0.001) as expired:
        time.sleep(0.05)
    assert not expired.is_set()


def test_a_client_that_hung_up_behind_a_pipelined_request_is_disconnected(pair):
    pair[1].sendall(b"GET")
    pair[1].close()
    assert watch({"gunicorn.socket": pair[0]})()
