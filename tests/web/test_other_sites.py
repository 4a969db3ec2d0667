"""Pages of other sites cannot use a server without keys."""

import pytest

from tests import raw_http
from tests.web.fake_synthesizer import CHUNK
from tests.web.requests import clone_form

OWN = "http://localhost"
STRANGE = "https://page.example"
OPEN = {"api_keys": ""}


def post(client, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/clone-voice", data=clone_form(), headers=named).status_code


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:5000", "127.0.0.1", "127.0.0.1:5000", "127.8.8.8", "[::1]", "[::1]:5000", "app.localhost"],
)
def test_requests_for_a_name_of_this_machine_are_served(make_client, host):
    assert post(make_client(**OPEN), Host=host) == 200


@pytest.mark.parametrize(
    "host",
    ["page.example", "page.example:5000", "localhost.page.example", "127.0.0.1.page.example", "0.0.0.0:5000",
     "192.168.1.9", "[::]", "[fe80::1]", "[", "localhost@page.example", "xlocalhost"],
)  # fmt: skip
def test_requests_for_other_names_are_refused(make_client, fake, host):
    client = make_client(**OPEN)
    assert post(client, Host=host) == 403
    assert client.get("/health", headers={"Host": host}).status_code == 403
    assert not fake.spoken


def test_the_refusal_names_the_setting_that_helps(make_client):
    client = make_client(**OPEN)
    assert "CSM_API_KEYS" in client.get("/health", headers={"Host": "page.example"}).json["error"]
    assert "CSM_CORS_ORIGINS" in client.get("/health", headers={"Origin": STRANGE}).json["error"]


@pytest.mark.parametrize("origin", [STRANGE, "null", "", "http://localhost:3000", "http://127.0.0.1", "file://"])
def test_requests_from_pages_of_other_sites_are_refused(make_client, fake, origin):
    assert post(make_client(**OPEN), Origin=origin) == 403
    assert not fake.spoken


def test_requests_from_own_and_allowed_pages_are_served(make_client):
    assert post(make_client(**OPEN), Origin=OWN) == 200
    assert post(make_client(**OPEN), Origin="http://127.0.0.1:5000", Host="127.0.0.1:5000") == 200
    for allowed in ({"cors_origins": STRANGE}, {"cors_origins": "*", "allow_anonymous": True}):
        assert post(make_client(**allowed, **OPEN), Origin=STRANGE) == 200


def test_a_preflight_of_an_allowed_page_is_answered(make_client):
    headers = {"Origin": STRANGE, "Access-Control-Request-Method": "POST"}
    assert make_client(cors_origins=STRANGE, **OPEN).options("/clone-voice", headers=headers).status_code == 204
    assert make_client(**OPEN).options("/clone-voice", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "given", [{"trusted_proxies": 1, "allow_anonymous": True}, {"host": "0.0.0.0", "allow_anonymous": True}]
)
def test_a_public_server_is_served_under_any_name_but_pages_are_still_checked(make_client, given):
    client = make_client(**OPEN, **given)
    assert post(client, Host="voice.example.com") == 200
    assert post(client, Host="voice.example.com", Origin="https://voice.example.com") == 200
    assert post(client, Host="voice.example.com", Origin=STRANGE) == 403


def test_a_server_with_keys_checks_neither_name_nor_page(make_client):
    client = make_client(api_keys="secret")
    assert post(client, X_API_Key="secret", Host="voice.example.com", Origin=STRANGE) == 200


def test_dns_rebinding_is_refused(serve):
    """A page of evil.example, whose name now points to this machine, sends what a browser would send for it."""
    server = serve(api_keys="")
    rebound = raw_http.post(
        raw_http.form(), Host=f"evil.example:{server.port}", Origin=f"http://evil.example:{server.port}"
    )
    assert server.ask(rebound).status == 403
    cross_site = raw_http.post(raw_http.form(), Host=f"127.0.0.1:{server.port}", Origin="https://evil.example")
    assert server.ask(cross_site).status == 403
    assert not server.happened("begin")
    own = raw_http.post(raw_http.form(), Host=f"127.0.0.1:{server.port}", Origin=f"http://127.0.0.1:{server.port}")
    assert server.ask(own).body[44:] == 3 * CHUNK
