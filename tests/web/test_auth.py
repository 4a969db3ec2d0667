import hashlib

import pytest


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer secret"},
        {"Authorization": "bearer  secret "},
        {"X-API-Key": "secret"},
        {"Authorization": "Basic dTpw", "X-API-Key": "secret"},
        {"Authorization": "Bearer other", "X-API-Key": "secret"},
    ],
)
def test_a_known_key_is_accepted(client, headers):
    assert client.get("/nothing", headers=headers).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "secret"},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic secret"},
        {"X-API-Key": ""},
        {"X-API-Key": "Secret"},
        {"X-API-Key": "secre\xff"},
        {"X-API-Key": "s" * 8000},
        {"Cookie": "X-API-Key=secret"},
    ],
)
def test_a_missing_or_wrong_key_is_refused(client, headers):
    answer = client.get("/nothing", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].lower().startswith("bearer")
    assert answer.content_type == "application/problem+json"


def test_a_key_in_the_query_string_is_refused(client):
    assert client.get("/nothing?api_key=secret&X-API-Key=secret").status_code == 401


def test_a_key_may_have_letters_beyond_ascii(make_client):
    client = make_client(api_keys="schlüssel")
    on_the_wire = "schlüssel".encode().decode("latin-1")
    assert client.get("/x", environ_overrides={"HTTP_X_API_KEY": on_the_wire}).status_code == 404
    assert client.get("/x", environ_overrides={"HTTP_X_API_KEY": "Ĝ"}).status_code == 401


def test_without_configured_keys_no_key_is_needed(make_client):
    assert make_client(api_keys="").get("/x").status_code == 404


def test_a_key_removed_from_the_file_is_refused_without_a_restart(make_client, tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"me:{hashlib.sha256(b'mine').hexdigest()}:\n")
    client = make_client(api_keys="", api_keys_file=path)
    assert client.get("/x", headers={"X-API-Key": "mine"}).status_code == 404
    path.write_text("")
    assert client.get("/x", headers={"X-API-Key": "mine"}).status_code == 401
