import time

import pytest

from csm.settings import SettingsError
from csm.web.rate_limit import check
from tests.web.app_settings import app_settings
from tests.web.requests import KEY, clone_form, clone_statuses, post_clone


def test_each_key_has_a_quota(make_client):
    client = make_client(api_keys="one,two", rate_limit="2 per minute")
    assert clone_statuses(client, 3, key="one") == [200, 200, 429]
    assert clone_statuses(client, 3, key="two") == [200, 200, 429]


def test_all_routes_share_the_quota_of_a_key(make_client):
    client = make_client(rate_limit="2 per hour")
    names = (
        "clone-voice",
        "v1/audio/speech",
        "conversation",
        "watermark",
        "reference",
        "v1/audio/voices",
        "clone-voice",
    )
    statuses = [client.post(f"/{name}", headers=KEY).status_code for name in names]
    assert statuses == [415, 415, 429, 429, 429, 429, 429]
    assert client.get("/v1/audio/voices", headers=KEY).status_code == 200


def test_an_answer_over_the_quota_says_when_to_retry(make_client):
    client = make_client(rate_limit="1 per hour")
    assert "Retry-After" not in post_clone(client).headers
    answer = post_clone(client)
    assert answer.status_code == 429
    assert 3000 < int(answer.headers["Retry-After"]) <= 3601
    assert not [name for name, _ in answer.headers if "ratelimit" in name.lower()]
    assert "1 per 1 hour" in answer.json["error"]


def test_after_retry_after_a_request_is_served(make_client, monkeypatch):
    client = make_client(rate_limit="1 per hour")
    assert clone_statuses(client, 2) == [200, 429]
    later = time.time() + int(post_clone(client).headers["Retry-After"])
    monkeypatch.setattr(time, "time", lambda: later)
    assert post_clone(client).status_code == 200


def test_requests_with_wrong_keys_use_no_quota(make_client):
    client = make_client(rate_limit="1 per hour")
    assert clone_statuses(client, 5, key="wrong") == [401] * 5
    assert post_clone(client).status_code == 200


def test_without_keys_each_address_has_a_quota(make_client):
    client = make_client(api_keys="", rate_limit="1 per hour")
    for address in ("10.0.0.1", "10.0.0.2", "::ffff:10.0.0.3"):
        assert clone_statuses(client, 2, environ_overrides={"REMOTE_ADDR": address}) == [200, 429]


def test_addresses_of_one_ipv6_network_share_a_quota(make_client):
    client = make_client(api_keys="", rate_limit="1 per hour")
    first, same, other = ({"REMOTE_ADDR": address} for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"))
    answers = [post_clone(client, environ_overrides=address).status_code for address in (first, same, other)]
    assert answers == [200, 429, 200]


@pytest.mark.parametrize(
    ("proxies", "header", "address"),
    [
        (0, "1.1.1.1", "9.9.9.9"),  # no proxy is trusted: the client may have made the header up
        (
            1,
            "6.6.6.6, 1.1.1.1",
            "1.1.1.1",
        ),  # one proxy: it appended the last address; the client may have made up the rest
        (2, "6.6.6.6, 1.1.1.1, 2.2.2.2", "1.1.1.1"),  # two proxies: the last but one
        (2, "1.1.1.1", "9.9.9.9"),  # fewer addresses than proxies: the request did not pass all of them
    ],
)
def test_the_address_of_a_client_behind_proxies(make_client, proxies, header, address):
    client = make_client(api_keys="", rate_limit="1 per hour", trusted_proxies=proxies, allow_anonymous=True)
    options = {"environ_overrides": {"REMOTE_ADDR": "9.9.9.9"}}
    headers = {"X-Forwarded-For": header}
    assert client.post("/clone-voice", data=clone_form(), headers=headers, **options).status_code == 200
    assert client.post("/clone-voice", data=clone_form(), headers=headers, **options).status_code == 429
    # The quota just used up must be that of `address`: seen directly, that address has none left.
    alone = {"X-Forwarded-For": ", ".join([address] * proxies)} if proxies else {}
    direct = {"environ_overrides": {"REMOTE_ADDR": address}}
    assert client.post("/clone-voice", data=clone_form(), headers=alone, **direct).status_code == 429


def test_the_quota_is_checked_before_the_body_is_read(make_client, fake):
    client = make_client(rate_limit="1 per hour")
    assert post_clone(client).status_code == 200
    assert client.post("/clone-voice", data=b"no form", headers=KEY).status_code == 429


def test_a_request_over_capacity_keeps_its_quota(make_client, fake):
    client = make_client(rate_limit="1 per hour")
    held = [fake.reserve() for _ in range(fake.capacity)]
    answers = [client.post("/clone-voice", data=b"no form", headers=KEY) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503] * 3
    assert all(answer.headers["Retry-After"] for answer in answers)
    assert client.post("/clone-voice", data=b"no form").status_code == 401
    for reservation in held:
        reservation.release()
    assert clone_statuses(client, 2) == [200, 429]


def post_text(client, characters, key="secret"):
    form = clone_form("x" * characters)
    return client.post("/clone-voice", data=form, headers={"X-API-Key": key}, buffered=True)


def test_each_key_has_a_quota_of_characters(make_client):
    client = make_client(api_keys="one,two", rate_limit="100 per hour", character_limit="50 per hour")
    assert [post_text(client, 20, "one").status_code for _ in range(3)] == [200, 200, 429]
    assert post_text(client, 50, "two").status_code == 200
    assert post_text(client, 10, "one").status_code == 200
    answer = post_text(client, 1, "one")
    assert answer.status_code == 429 and 3000 < int(answer.headers["Retry-After"]) <= 3601
    assert "50 characters per 1 hour" in answer.json["error"]


def test_a_text_longer_than_the_whole_quota_of_characters_is_refused_for_good(make_client):
    answer = post_text(make_client(character_limit="50 per hour"), 51)
    assert answer.status_code == 422 and "Retry-After" not in answer.headers
    assert answer.json["error"] == "The text has 51 characters; CSM_CHARACTER_LIMIT allows 50 at a time."


def test_the_quota_of_characters_can_be_switched_off(make_client):
    client = make_client(rate_limit="100 per minute", character_limit="")
    assert post_text(client, 9000).status_code == 200


def test_an_invalid_quota_of_characters_stops_the_start():
    with pytest.raises(SettingsError, match="CSM_CHARACTER_LIMIT"):
        check(app_settings(character_limit="many"))
