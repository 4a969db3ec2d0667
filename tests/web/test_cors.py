import pytest

from tests.web.requests import KEY

PAGE = "https://page.example"
PREFLIGHT = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}


def test_no_page_is_allowed_by_default(client):
    answer = client.options("/clone-voice", headers=PREFLIGHT)
    assert answer.status_code == 401
    assert "Access-Control-Allow-Origin" not in client.get("/health", headers={"Origin": PAGE}).headers


@pytest.mark.parametrize(("origins", "shown"), [(PAGE, PAGE), (f"https://a.example, {PAGE}", PAGE), ("*", "*")])
def test_an_allowed_page(make_client, origins, shown):
    client = make_client(cors_origins=origins)
    answer = client.options("/clone-voice", headers=PREFLIGHT)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == shown
    allowed = answer.headers["Access-Control-Allow-Headers"].split(", ")
    assert {"Content-Type", "X-API-Key", "X-Voice"} <= set(allowed)
    for headers, status in ((KEY, 404), ({}, 401)):
        answer = client.get("/x", headers={"Origin": PAGE, **headers})
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, shown)
        assert "X-Request-ID" in answer.headers["Access-Control-Expose-Headers"]
        assert "Origin" in answer.headers["Vary"]


@pytest.mark.parametrize("origin", ["https://other.example", "https://page.example.evil", "null", ""])
def test_a_page_that_is_not_allowed(make_client, origin):
    client = make_client(cors_origins=PAGE)
    answer = client.options("/clone-voice", headers={**PREFLIGHT, "Origin": origin})
    assert answer.status_code == 401
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Origin" in answer.headers["Vary"]


def test_an_options_request_that_is_no_preflight_needs_a_key(make_client):
    assert make_client(cors_origins="*").options("/clone-voice", headers={"Origin": PAGE}).status_code == 401
