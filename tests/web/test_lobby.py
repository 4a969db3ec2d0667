import pytest

from csm.errors import Busy
from csm.web import lobby
from csm.web.lobby import LEAVE, Lobby


@pytest.fixture
def two_places() -> Lobby:
    def check(ahead: int) -> None:
        if ahead >= 2:
            raise Busy("full")

    return Lobby(check)


def test_as_many_as_there_are_places_beside_those_who_are_here(two_places):
    leave, _ = two_places.enter(), two_places.enter()
    with pytest.raises(Busy):
        two_places.enter()
    leave()
    two_places.enter()
    leave()
    with pytest.raises(Busy):
        two_places.enter()


def test_who_takes_long_keeps_no_place(two_places, monkeypatch):
    monkeypatch.setattr(lobby, "SECONDS", 0.0)
    for _ in range(5):
        two_places.enter()


def test_a_request_is_let_in_once(two_places):
    environ = {LEAVE: two_places.enter()}
    two_places.enter()
    assert two_places.admit(environ) is environ[LEAVE]
    with pytest.raises(Busy):
        two_places.admit({})
