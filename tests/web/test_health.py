import pytest

from csm import __version__


def test_health_of_a_healthy_server(client, fake):
    fake.details = {"engine": "csm", "slots": 4, "status": "a detail must not hide the state"}
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json == {
        "status": "healthy",
        "model": "fake",
        "device": "cpu",
        "running": 0,
        "waiting": 0,
        "version": __version__,
        "engine": "csm",
        "slots": 4,
    }


@pytest.mark.parametrize("state", ["loading", "draining", "unhealthy"])
def test_health_of_a_server_that_is_not_healthy(client, fake, state):
    fake.state = state
    for path in ("/health", "/health/ready"):
        answer = client.get(path)
        assert (answer.status_code, answer.json["status"]) == (503, state)
    assert client.get("/health").json["reason"] == f"it is {state}"
    assert client.get("/health/live").status_code == 200


def test_a_healthy_server_is_ready(client):
    assert client.get("/health/ready").status_code == 200


def test_health_is_not_rate_limited(make_client):
    client = make_client(rate_limit="1 per hour")
    assert [client.get("/health").status_code for _ in range(5)] == [200] * 5
