import hashlib
import logging
import os
import time

import pytest

from csm.settings import SettingsError
from csm.web.keys import Key, Keyring
from tests.web.app_settings import app_settings


def line(name, key, expiry=""):
    return f"{name}:{hashlib.sha256(key).hexdigest()}:{expiry}\n"


def name_of(ring, key):
    found = ring.find(key)
    return found and found.name


def write(path, *lines):
    """Replace the file by a new one, as an operator's tool would."""
    fresh = path.with_suffix(".new")
    fresh.write_text("".join(lines))
    os.replace(fresh, path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys"


def test_keys_of_the_environment_are_stored_as_digests_and_named_by_number():
    ring = Keyring.from_settings(app_settings(api_keys="first,zweiter Schlüssel"))
    assert name_of(ring, b"first") == "key-1"
    assert name_of(ring, "zweiter Schlüssel".encode()) == "key-2"
    assert name_of(ring, b"firs") is name_of(ring, b"") is None
    assert b"first" not in repr(vars(ring)).encode()


def test_voices_belong_to_the_name_of_a_key_or_to_the_digest_of_a_numbered_one(path):
    write(path, line("app", b"a"), line("app", b"b"))
    ring = Keyring.from_settings(app_settings(api_keys="first,second", api_keys_file=path))
    swapped = Keyring.from_settings(app_settings(api_keys="second,first"))
    assert ring.find(b"a").owner == ring.find(b"b").owner == "app"
    assert ring.find(b"first").owner == swapped.find(b"first").owner != ring.find(b"second").owner
    assert ":" in ring.find(b"first").owner, "no name in a file can be the same"


@pytest.mark.parametrize("name", ["anonymous", "key-1", "key-23"])
def test_a_key_has_no_name_that_others_have(path, name):
    write(path, line(name, b"a"))
    with pytest.raises(SettingsError, match=r"line 1.*other than anonymous and key-1"):
        Keyring(path=path)


def test_a_file_may_have_several_keys_and_comments(path):
    write(path, "# the clients' keys\n", "\n", line("app", b"a"), line("app", b"b"), line("web", b"c", "2999-12-31"))
    ring = Keyring(path=path)
    assert [name_of(ring, key) for key in (b"a", b"b", b"c", b"d")] == ["app", "app", "web", None]


def test_a_key_expires_at_its_time_in_its_time_zone(path, monkeypatch):
    write(path, line("day", b"a", "2030-01-31"), line("hour", b"b", "2030-01-31T12:00:00+02:00"))
    ring = Keyring(path=path)
    midnight = 1896048000  # 2030-01-31T00:00:00Z
    monkeypatch.setattr(time, "time", lambda: midnight - 1)
    assert (name_of(ring, b"a"), name_of(ring, b"b")) == ("day", "hour")
    monkeypatch.setattr(time, "time", lambda: midnight)
    assert (name_of(ring, b"a"), name_of(ring, b"b")) == (None, "hour")
    monkeypatch.setattr(time, "time", lambda: midnight + 36000)
    assert name_of(ring, b"b") is None


def test_a_changed_file_is_read_again(path):
    write(path, line("old", b"a"))
    ring = Keyring(path=path)
    write(path, line("new", b"b"))
    assert (name_of(ring, b"a"), name_of(ring, b"b")) == (None, "new")


def test_an_invalid_line_in_a_changed_file_leaves_its_other_keys_valid(path, caplog):
    write(path, line("one", b"a"), line("two", b"b"))
    ring = Keyring(path=path)
    write(path, "oops SECRET\n", line("two", b"b"))
    assert (name_of(ring, b"a"), name_of(ring, b"b")) == (None, "two")
    assert "line 1" in caplog.text
    assert "SECRET" not in caplog.text


def test_the_keys_of_a_deleted_file_stay_valid_and_the_loss_is_logged_once(path, caplog):
    write(path, line("one", b"a"))
    ring = Keyring(path=path)
    path.unlink()
    with caplog.at_level(logging.ERROR):
        assert [name_of(ring, b"a") for _ in range(3)] == ["one"] * 3
    assert len(caplog.records) == 1
    write(path, line("two", b"b"))
    assert (name_of(ring, b"a"), name_of(ring, b"b")) == (None, "two")


def test_an_empty_file_accepts_no_key(path):
    write(path)
    ring = Keyring(path=path)
    assert ring.is_needed
    assert name_of(ring, b"") is None


@pytest.mark.parametrize("text", ["name", "name:abc:", "na me:" + "0" * 64, "n:" + "0" * 64 + ":soon", ":" + "0" * 64])
def test_an_invalid_line_stops_the_start(path, text):
    path.write_text(text)
    with pytest.raises(SettingsError, match="line 1: expected name:sha256:expiry"):
        Keyring(path=path)


def test_the_expiry_may_be_left_out():
    assert Key.parse("me:" + "ab" * 32) == Key("me", bytes.fromhex("ab" * 32), None)


def test_without_configured_keys_none_is_needed():
    assert not Keyring.from_settings(app_settings(api_keys="")).is_needed
