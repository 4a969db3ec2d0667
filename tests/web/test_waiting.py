import selectors
import socket

from gunicorn.config import Config
from gunicorn.workers.gthread import TConn

from csm.web.waiting import Waiting


def test_who_was_closed_to_make_room_is_not_served_in_the_same_turn():
    pairs = [socket.socketpair() for _ in range(3)]
    served = []
    with selectors.DefaultSelector() as poller:
        crowd = Waiting(poller, 10)

        def serve(conn):
            served.append(conn)
            for oldest in crowd.take_oldest(len(crowd)):
                oldest.sock.close()

        for ours, theirs in pairs:
            crowd.add(TConn(Config(), ours, None, ""), serve)
            theirs.send(b"GET")
        turn = poller.select(5)
        assert len(turn) == 3
        for key, _ in turn:
            key.data(key.fileobj)
    for ours, theirs in pairs:
        assert ours.fileno() < 0
        theirs.close()
    assert len(served) == 1
