import time

import pytest

from tests.web.requests import KEY, clone_form


def post(client, key="secret", **options):
    return client.post("/clone-voice", data=clone_form(), headers={"X-API-Key": key}, **options)


def statuses(client, count, **options):
    return [post(client, **options).status_code for _ in range(count)]


def test_a_quota_per_key(make_client):
    client = make_client(api_keys="one,two", rate_limit="2 per minute")
    assert statuses(client, 3, key="one") == [200, 200, 429]
    assert statuses(client, 3, key="two") == [200, 200, 429]


def test_the_answer_says_when_to_come_back(make_client):
    client = make_client(rate_limit="1 per minute")
    assert "Retry-After" not in post(client).headers
    answer = post(client)
    assert answer.status_code == 429
    assert 55 <= int(answer.headers["Retry-After"]) <= 61
    assert not [name for name, _ in answer.headers if "ratelimit" in name.lower()]
    assert "1 per 1 minute" in answer.json["error"]


def test_room_again_after_the_time_named(make_client):
    client = make_client(rate_limit="1 per 2 seconds")
    assert statuses(client, 2) == [200, 429]
    time.sleep(int(post(client).headers["Retry-After"]))
    assert post(client).status_code == 200


def test_wrong_keys_use_up_nobodys_quota(make_client):
    client = make_client(rate_limit="1 per hour")
    assert statuses(client, 5, key="wrong") == [401] * 5
    assert post(client).status_code == 200


def test_a_quota_per_address_where_there_are_no_keys(make_client):
    client = make_client(api_keys="", rate_limit="1 per hour")
    for address in ("10.0.0.1", "10.0.0.2", "::ffff:10.0.0.3"):
        assert statuses(client, 2, environ_overrides={"REMOTE_ADDR": address}) == [200, 429]


def test_one_subscriber_of_ipv6_is_one_caller(make_client):
    client = make_client(api_keys="", rate_limit="1 per hour")
    first, same, other = ({"REMOTE_ADDR": address} for address in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"))
    answers = [post(client, environ_overrides=address).status_code for address in (first, same, other)]
    assert answers == [200, 429, 200]


@pytest.mark.parametrize(
    ("proxies", "header", "caller"),
    [
        (0, "1.1.1.1", "9.9.9.9"),  # nobody is trusted: the header is anybody's invention
        (1, "6.6.6.6, 1.1.1.1", "1.1.1.1"),  # one proxy: the last address is the one it saw, the rest is invented
        (2, "6.6.6.6, 1.1.1.1, 2.2.2.2", "1.1.1.1"),  # two proxies: the last but one
        (2, "1.1.1.1", "9.9.9.9"),  # fewer addresses than proxies: somebody came around them
    ],
)
def test_who_is_calling_behind_proxies(make_client, proxies, header, caller):
    client = make_client(api_keys="", rate_limit="1 per hour", trusted_proxies=proxies)
    options = {"environ_overrides": {"REMOTE_ADDR": "9.9.9.9"}}
    headers = {"X-Forwarded-For": header}
    assert client.post("/clone-voice", data=clone_form(), headers=headers, **options).status_code == 200
    assert client.post("/clone-voice", data=clone_form(), headers=headers, **options).status_code == 429
    # The quota just used up must be that of `caller`: seen directly, that address has none left.
    alone = {"X-Forwarded-For": ", ".join([caller] * proxies)} if proxies else {}
    direct = {"environ_overrides": {"REMOTE_ADDR": caller}}
    assert client.post("/clone-voice", data=clone_form(), headers=alone, **direct).status_code == 429


def test_the_quota_is_asked_before_the_body_is_read(make_client, fake):
    client = make_client(rate_limit="1 per hour")
    assert post(client).status_code == 200
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
    assert statuses(client, 2) == [200, 429]
