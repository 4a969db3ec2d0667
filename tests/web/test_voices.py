"""Routes of stored voices: shapes, owners, and what strangers try."""

import hashlib
import io

import pytest
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from tests.corpus.voices import damaged, voice_file
from tests.speech.voices.stored_files import stored_files
from tests.web.requests import clone_form

URL = "/v1/audio/voices"
ALICE, BOB = {"X-API-Key": "alice's"}, {"X-API-Key": "bob's"}
FORM = "multipart/form-data"
DAMAGED = [*damaged()]
ERRORS = {"message", "type", "param", "code"}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "voices"


@pytest.fixture
def start(make_client, folder, tmp_path):
    """Start a server for Alice and Bob, who have keys in a file."""

    def begin(alice="alice's", **given):
        keys = tmp_path / "keys"
        lines = [f"{name}:{hashlib.sha256(key.encode()).hexdigest()}" for name, key in (("a", alice), ("b", "bob's"))]
        keys.write_text("\n".join(lines))
        return make_client(**{"api_keys": "", "api_keys_file": keys, "voices_dir": folder, **given})

    return begin


@pytest.fixture
def client(start):
    return start()


def recording(content=b"sound"):
    return io.BytesIO(content), "me.wav"


def create(client, name="Ann", key=ALICE, **fields):
    """Make a voice; a field of None is left out."""
    made = {"name": name, "audio_sample": [recording()], "transcript": "Heard.", "consent": "I am the speaker."}
    sent = {field: value for field, value in (made | fields).items() if value is not None}
    return client.post(URL, data=sent, headers=key, content_type=FORM, buffered=True)


def say(client, voice, key=ALICE, **fields):
    data = {"text": "chunks=1", "voice": voice, **fields}
    return client.post("/clone-voice", data=data, headers=key, content_type=FORM, buffered=True)


def import_file(client, content, key=ALICE, **fields):
    boundary, body = encode_multipart({"file": FileStorage(*recording(content)), **fields})
    content_type = f"{FORM}; boundary={boundary}"
    return client.post(f"{URL}/import", data=body, headers=key, content_type=content_type, buffered=True)


def voice_id(client, **given):
    answer = create(client, **given)
    assert answer.status_code == 201, answer.text
    return answer.json["id"]


def names(client, key):
    return [voice["name"] for voice in client.get(URL, headers=key).json["data"]]


def refusal(answer):
    """The status of an error in OpenAI's shape, and its message."""
    assert answer.content_type == "application/json" and answer.json.keys() == {"error"}
    assert answer.json["error"].keys() == ERRORS and answer.json["error"]["message"]
    return answer.status_code, answer.json["error"]["message"]


def test_a_voice_is_made_listed_looked_up_renamed_heard_and_deleted(client):
    made = create(client)
    assert made.status_code == 201
    voice = made.json
    assert (voice["object"], voice["name"], voice["shared"]) == ("audio.voice", "Ann", False)
    assert voice["created_at"] > 0 and voice["report"]["warnings"] == [] and voice["transcript"] == "Heard."
    assert voice["consent"] == "I am the speaker." and "owner" not in voice
    one = f"{URL}/{voice['id']}"
    listed = client.get(URL, headers=ALICE).json
    assert listed["object"] == "list" and listed["data"][0] == client.get(one, headers=ALICE).json == voice
    renamed = client.patch(one, json={"name": " Bea "}, headers=ALICE)
    assert renamed.status_code == 200 and renamed.json == voice | {"name": "Bea"}
    assert client.patch(one, data={"name": "Cleo"}, headers=ALICE).status_code == 415
    again = client.patch(one, data={"name": "Cleo"}, headers=ALICE, content_type=FORM)
    assert again.json["name"] == "Cleo"
    sample = client.get(f"{one}/sample", headers=ALICE)
    assert (sample.status_code, sample.content_type) == (200, "audio/wav") and sample.data[:4] == b"RIFF"
    assert sample.headers["Cache-Control"] == "no-store"
    deleted = client.delete(one, headers=ALICE)
    assert (deleted.status_code, deleted.data) == (204, b"")
    assert refusal(client.get(one, headers=ALICE))[0] == 404


def test_several_recordings_may_have_a_transcript_each(client, fake):
    two = [recording(b"one"), recording(b"two")]
    answer = create(client, audio_sample=two, transcript=["First.", " Second. "])
    assert answer.status_code == 201
    [draft] = fake.voices.drafts
    assert (draft.recordings, draft.transcripts) == ([b"one", b"two"], ["First.", "Second."])
    for number, transcript in enumerate((None, "", "All of it.")):
        answer = create(client, name=str(number), audio_sample=[recording(), recording()], transcript=transcript)
        assert answer.status_code == 201
    too_many = create(client, name="x", audio_sample=[recording(), recording()], transcript=["1", "2", "3"])
    assert refusal(too_many)[0] == 400


def test_an_exported_voice_can_be_imported_by_another_key(client):
    exported = client.get(f"{URL}/{voice_id(client)}/export", headers=ALICE)
    assert exported.status_code == 200 and exported.content_type == "application/vnd.safetensors"
    for name, wanted in ((None, "Ann"), ("Bea", "Bea")):
        answer = import_file(client, exported.data, BOB, **({"name": name} if name else {}))
        assert answer.status_code == 201 and answer.json["name"] == wanted, answer.text
    assert refusal(import_file(client, exported.data, BOB))[0] == 409


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("GET", "", {}),
        ("PATCH", "", {"json": {"name": "Mine"}}),
        ("DELETE", "", {}),
        ("GET", "/sample", {}),
        ("GET", "/export", {}),
    ],
)
def test_another_keys_voice_is_answered_like_an_unknown_one(client, method, path, options):
    foreign = voice_id(client)
    answers = [
        client.open(f"{URL}/{one}{path}", method=method, headers=BOB | {"X-Request-ID": "r"}, **options)
        for one in (foreign, "voice_" + "0" * 32, "nonsense")
    ]
    assert [answer.status_code for answer in answers] == [404] * 3
    assert len({(answer.data, str(sorted(answer.headers))) for answer in answers}) == 1
    assert names(client, ALICE) == ["Ann", "default"] and names(client, BOB) == ["default"]


def test_a_voice_of_another_key_cannot_be_spoken_with(client):
    foreign = voice_id(client)
    for voice in (foreign, "Ann", "nobody"):
        assert say(client, voice, BOB).status_code == 404
    assert say(client, "Ann").status_code == 200
    assert create(client, key=BOB).status_code == 201, "two keys may use one name"


def test_a_new_key_of_the_same_name_keeps_the_voices(start):
    kept = voice_id(start())
    again = start(alice="a new one")
    assert again.get(URL, headers=ALICE).status_code == 401
    assert again.get(f"{URL}/{kept}", headers={"X-API-Key": "a new one"}).json["name"] == "Ann"


def test_plain_keys_own_their_voices_in_any_order(start, folder):
    first, second = {"X-API-Key": "first"}, {"X-API-Key": "second"}
    kept = voice_id(start(api_keys="first,second", api_keys_file=None), key=first)
    client = start(api_keys="second,third,first", api_keys_file=None)
    assert client.get(f"{URL}/{kept}", headers=first).status_code == 200
    assert client.get(f"{URL}/{kept}", headers=second).status_code == 404
    assert b"first" not in next(folder.glob("*.safetensors")).read_bytes(), "the digest is stored, not the key"


def test_a_server_without_keys_has_one_owner(start):
    client = start(api_keys_file=None)
    assert client.get(f"{URL}/{voice_id(client, key={})}").json["name"] == "Ann"
    assert say(client, "Ann", {}).status_code == 200


def test_without_a_folder_the_default_voice_works_and_the_setting_is_named(start):
    client = start(voices_dir=None)
    assert names(client, ALICE) == ["default"]
    assert client.get(f"{URL}/default/sample", headers=ALICE).status_code == 200
    assert say(client, "default").status_code == 200
    status, message = refusal(create(client))
    assert status == 403 and "CSM_VOICES_DIR" in message


def test_shared_voices_can_be_used_by_everybody_and_changed_by_nobody(start, folder):
    (folder / "shared").mkdir(parents=True)
    (folder / "shared" / "narrator.safetensors").write_bytes(voice_file(name="The narrator").to_bytes())
    client = start(voice_aliases="alloy=narrator")
    for key in (ALICE, BOB):
        assert names(client, key) == ["default", "The narrator"] or names(client, key) == ["The narrator", "default"]
        assert client.get(f"{URL}/narrator", headers=key).json["shared"] is True
        for voice in ("narrator", "The narrator", "alloy"):
            assert say(client, voice, key).status_code == 200
        for one in ("narrator", "default"):
            assert refusal(client.delete(f"{URL}/{one}", headers=key))[0] == 403
            assert refusal(client.patch(f"{URL}/{one}", json={"name": "x"}, headers=key))[0] == 403


@pytest.mark.parametrize("name", ["Ann", "default", "alloy"])
def test_a_name_that_is_taken_is_a_conflict(start, name):
    client = start(voice_aliases="alloy=default")
    voice_id(client)
    assert refusal(create(client, name=name))[0] == 409
    other = voice_id(client, name="Bea")
    assert refusal(client.patch(f"{URL}/{other}", json={"name": name}, headers=ALICE))[0] == 409


def test_a_key_has_a_limited_number_of_voices(start):
    client = start(max_voices=1)
    voice_id(client)
    status, message = refusal(create(client, name="Bea"))
    assert status == 409 and "CSM_MAX_VOICES" in message
    assert create(client, name="Bea", key=BOB).status_code == 201


NAMES = ["", "   ", "a/b", "../../etc/passwd", "a\x00b", "a\nb", "\u202eAnn", "x" * 65, "voice_" + "a" * 32, "\x7f"]


@pytest.mark.parametrize("name", NAMES)
def test_names_with_slashes_or_control_characters_are_refused(client, folder, name):
    kept = voice_id(client, name="Kept")
    answers = [create(client, name=name), client.patch(f"{URL}/{kept}", json={"name": name}, headers=ALICE)]
    for answer in answers:
        status, message = refusal(answer)
        assert status == 400 and answer.json["error"]["param"] == "name" and (not name.strip() or name not in message)
    assert stored_files(folder) == [f"{kept}.safetensors"]


def test_names_are_normalised(client):
    assert create(client, name="Zoe\u0308").json["name"] == "Zo\u00eb"
    assert refusal(create(client, name="Zo\u00eb"))[0] == 409


@pytest.mark.parametrize("consent", [None, "", " ", "false", "no", "x" * 501, "yes\x00"])
def test_a_voice_needs_a_statement_of_consent(client, consent):
    status, _ = refusal(create(client, consent=consent))
    assert status == 400
    assert names(client, ALICE) == ["default"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (lambda: {"audio_sample": None}, 400),
        (lambda: {"audio_sample": [recording(b"")]}, 400),
        (lambda: {"audio_sample": "no file"}, 400),
        (lambda: {"audio_sample": [recording() for _ in range(9)]}, 400),
        (lambda: {"audio_sample": [recording(b"noise")]}, 415),
        (lambda: {"name": None}, 400),
        (lambda: {"name": ["Ann", "Bea"]}, 400),
        (lambda: {"consent": ["yes", "no"]}, 400),
        (lambda: {"transcript": "x" * 4001}, 400),
        (lambda: {"transcript": [recording(b"Heard.")]}, 400),
        (lambda: {"owner": "b"}, 400),
        (lambda: {"id": "default"}, 400),
        (lambda: {"audio": [recording()]}, 400),
    ],
)
def test_forms_that_are_wrong_are_refused_and_store_nothing(client, fields, status):
    assert refusal(create(client, **fields()))[0] == status
    assert names(client, ALICE) == ["default"]


WRONG = ["[]", "{}", "null", '{"name": 5}', '{"name": "a", "owner": "b"}', "{", '{"name":"\\ud800"}']


@pytest.mark.parametrize("body", WRONG)
def test_changes_that_are_wrong_are_refused(client, body):
    kept = voice_id(client)
    answer = client.patch(f"{URL}/{kept}", data=body, headers=ALICE, content_type="application/json")
    assert refusal(answer)[0] == 400 and names(client, ALICE) == ["Ann", "default"]


PATHS = ["..", ".", "%2e%2e", "..%2fkeys", "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%5ckeys", "a%00b", "*", "x" * 3000]


@pytest.mark.parametrize("one", PATHS, ids=range(9))
def test_ids_that_look_like_paths_find_nothing(client, folder, one, tmp_path):
    voice_id(client)
    (tmp_path / "keys.safetensors").write_bytes(voice_file(name="Outside").to_bytes())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for method, path, options in (
        ("GET", "", {}), ("GET", "/sample", {}), ("GET", "/export", {}), ("DELETE", "", {}),
        ("PATCH", "", {"json": {"name": "x"}}),
    ):  # fmt: skip
        status = client.open(f"{URL}/{one}{path}", method=method, headers=ALICE, **options).status_code
        # The client itself resolves dots, so that some of these arrive at other routes.
        assert status in (404, 405), (method, one)
    assert say(client, one).status_code in (404, 422)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize("content", [content for _, content in DAMAGED], ids=[name for name, _ in DAMAGED])
def test_files_that_are_no_voices_are_refused(client, folder, content):
    status, message = refusal(import_file(client, content))
    assert status == 400 and ("cannot be imported" in message or (not content and "empty" in message))
    assert not folder.exists() or stored_files(folder) == []


def test_a_broken_file_in_the_folder_does_not_break_the_list(client, folder):
    voice_id(client)
    (folder / f"voice_{'0' * 32}.safetensors").write_bytes(b"broken")
    assert names(client, ALICE) == ["Ann", "default"]


def test_a_disk_that_fails_is_told(client, monkeypatch):
    kept = voice_id(client)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("csm.speech.voices.disk.write", fail)
    for answer in (create(client, name="Bea"), client.patch(f"{URL}/{kept}", json={"name": "x"}, headers=ALICE)):
        status, message = refusal(answer)
        assert status == 507 and "disk is full" in message


def test_a_damaged_file_is_a_fault_of_the_server(client, folder):
    damaged_voice = folder / f"voice_{'1' * 32}.safetensors"
    folder.mkdir(exist_ok=True)
    damaged_voice.write_bytes(dict(DAMAGED)["codes out of range"].replace(b'"owner":"alice"', b'"owner":"a"    '))
    assert client.get(f"{URL}/{damaged_voice.stem}", headers=ALICE).status_code == 200
    assert refusal(client.get(f"{URL}/{damaged_voice.stem}/sample", headers=ALICE))[0] == 500
    assert client.delete(f"{URL}/{damaged_voice.stem}", headers=ALICE).status_code == 204


def test_making_a_voice_holds_capacity_and_looking_does_not(client, fake):
    kept = voice_id(client)
    held = [fake.admission.reserve() for _ in range(fake.capacity)]
    exported = fake.voices.export("a", kept)
    assert refusal(create(client, name="Bea"))[0] == 503
    assert refusal(import_file(client, exported))[0] == 503
    assert client.get(URL, headers=ALICE).status_code == client.get(f"{URL}/{kept}", headers=ALICE).status_code == 200
    assert client.delete(f"{URL}/{kept}", headers=ALICE).status_code == 204
    for one in held:
        one.release()
    assert create(client, name="Bea").status_code == 201 and fake.admission.reserved == 0


def test_routes_that_change_voices_share_a_quota_and_those_that_read_them_another(start):
    client = start(rate_limit="1 per hour")
    kept = voice_id(client)
    for method, path in (("POST", ""), ("POST", "/import"), ("PATCH", f"/{kept}"), ("DELETE", f"/{kept}")):
        assert client.open(f"{URL}{path}", method=method, headers=ALICE).status_code == 429
    assert client.get(URL, headers=ALICE).status_code == 200
    for path in ("", f"/{kept}", f"/{kept}/sample", f"/{kept}/export"):
        assert client.get(f"{URL}{path}", headers=ALICE).status_code == 429


def test_bodies_are_limited_as_those_of_other_routes(start):
    client = start(max_upload_mb=0.1)
    assert refusal(create(client, audio_sample=[recording(bytes(200_000))]))[0] == 413


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"voice": "default"}, 200),
        ({"voice": "default", "consent": "true"}, 200),
        ({"voice": "default", "consent": "false"}, 422),
        ({"voice": "default", "transcript": "Words."}, 422),
        ({"voice": "default", "audio": None}, 422),
        ({"voice": ""}, 400),
        ({}, 400),
        ({"voice": ["default", "default"]}, 400),
    ],
)
def test_a_text_is_spoken_with_either_reference_audio_or_a_stored_voice(start, fake, fields, status):
    client = start(require_consent=True)
    fields = {"text": "chunks=1", **fields} | ({"audio": recording()} if "audio" in fields else {})
    answer = client.post("/clone-voice", data=fields, headers=ALICE, content_type=FORM)
    assert answer.status_code == status, answer.text
    if status == 200:
        assert (fake.spoken[-1].voice, fake.spoken[-1].owner, fake.spoken[-1].reference) == ("default", "a", None)


def test_reference_audio_needs_no_stored_voice(client, fake):
    assert client.post("/clone-voice", data=clone_form(), headers=ALICE).status_code == 200
    assert fake.spoken[-1].voice is None
