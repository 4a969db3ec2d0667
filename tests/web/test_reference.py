"""POST /reference, with a fake synthesizer whose recording is a script."""

import io
import threading

import pytest

from tests.polling import wait_until
from tests.web.requests import KEY


def ask(client, recording=b"recognized=Some_words. warn=noisy", headers=KEY, **fields):
    return client.post("/reference", data={"audio": (io.BytesIO(recording), "a.mp3"), **fields}, headers=headers)


def test_the_answer_has_words_advice_and_measurements(client):
    answer = ask(client)
    assert answer.status_code == 200
    assert answer.json == {
        "transcript": "Some words.",
        "transcript_source": "recognized",
        "warnings": ["noisy"],
        "report": {"seconds": 2.0},
    }


def test_words_that_are_not_known_are_empty(client):
    answer = ask(client, b"chunks=1")
    assert (answer.json["transcript"], answer.json["transcript_source"], answer.json["warnings"]) == ("", "none", [])


def test_it_takes_a_key_and_a_quota(make_client):
    client = make_client(rate_limit="2 per minute")
    assert ask(client, headers={}).status_code == 401
    assert [ask(client).status_code for _ in range(3)] == [200, 200, 429]


def test_it_takes_no_capacity_from_requests_that_speak(client, fake):
    held = [fake.reserve() for _ in range(fake.capacity)]
    assert ask(client).status_code == 200 and fake.admission.reserved == len(held)


def test_only_two_recordings_are_examined_at_once(make_app):
    app = make_app()
    slow = [threading.Thread(target=ask, args=(app.test_client(), b"pace=3")) for _ in range(2)]
    for thread in slow:
        thread.start()
    wait_until(lambda: app.extensions["csm.synthesizer"].events() == ["examine", "examine"])
    refused = ask(app.test_client())
    assert refused.status_code == 503 and refused.headers["Retry-After"] == "2"
    for thread in slow:
        thread.join()
    assert ask(app.test_client()).status_code == 200


@pytest.mark.parametrize(
    ("error", "status"),
    [("UndecodableAudio", 415), ("UnusableReference", 422), ("DeadlineExceeded", 504), ("NotReady", 503)],
)
def test_a_failure_has_its_status_and_frees_its_place(client, error, status):
    for _ in range(3):
        assert ask(client, f"fail={error}".encode()).status_code == status
    assert ask(client).status_code == 200


def test_bodies_that_are_not_such_a_form_are_refused(client):
    assert ask(client, text="Hello").status_code == 422
    assert client.post("/reference", json={"audio": "AAAA"}, headers=KEY).status_code == 415
