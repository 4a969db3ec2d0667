"""POST /watermark, with a fake synthesizer whose recording is a script."""

import io
import threading

import pytest

from tests.polling import wait_until
from tests.web.requests import KEY


def ask(client, recording=b"mark=255", headers=KEY, **fields):
    return client.post("/watermark", data={"audio": (io.BytesIO(recording), "a.mp3"), **fields}, headers=headers)


@pytest.mark.parametrize(("mark", "found"), [(255, True), (0, False)])
def test_the_answer_tells_whether_a_recording_is_marked(client, mark, found):
    answer = ask(client, f"mark={mark}".encode())
    assert answer.status_code == 200
    assert answer.json == {"marked": found, "confidence": mark / 255, "seconds": 1.25}


def test_the_confidence_is_too_coarse_to_measure_attempts_at_removing_the_mark(client):
    assert [ask(client, f"mark={mark}".encode()).json["confidence"] for mark in (100, 101)] == [0.4, 0.4]


def test_it_takes_a_key_and_a_quota(make_client):
    client = make_client(rate_limit="2 per minute")
    assert ask(client, headers={}).status_code == 401
    assert [ask(client).status_code for _ in range(3)] == [200, 200, 429]


def test_it_takes_no_capacity_from_requests_that_speak(client, fake):
    held = [fake.reserve() for _ in range(fake.capacity)]
    assert ask(client).status_code == 200 and fake.admission.reserved == len(held)


def test_only_two_recordings_are_examined_at_once(make_app):
    app = make_app()
    statuses = []
    slow = [
        threading.Thread(target=lambda: statuses.append(ask(app.test_client(), b"pace=3 mark=1").status_code))
        for _ in range(2)
    ]
    for thread in slow:
        thread.start()
    fake = app.extensions["csm.synthesizer"]
    wait_until(lambda: fake.events() == ["detect", "detect"])
    refused = ask(app.test_client())
    assert refused.status_code == 503 and refused.headers["Retry-After"] == "2"
    for thread in slow:
        thread.join()
    assert statuses == [200, 200]
    assert ask(app.test_client()).status_code == 200


@pytest.mark.parametrize(
    ("error", "status"), [("UndecodableAudio", 415), ("UnusableReference", 422), ("NotReady", 503), ("Unforeseen", 500)]
)
def test_a_failure_has_its_status_and_frees_its_place(client, error, status):
    for _ in range(3):
        assert ask(client, f"fail={error}".encode()).status_code == status
    assert ask(client).status_code == 200


def test_bodies_that_are_not_such_a_form_are_refused(client):
    assert ask(client, text="Hello").status_code == 422
    assert ask(client, b"").status_code == 400
    assert client.post("/watermark", data={}, headers=KEY).status_code in (400, 415)
    assert client.post("/watermark", json={"audio": "AAAA"}, headers=KEY).status_code == 415
