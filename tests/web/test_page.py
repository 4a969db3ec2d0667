import re
from pathlib import PurePosixPath

import pytest

from csm.web import static_files
from tests.paths import ROOT
from tests.web.requests import KEY

FILES = sorted(
    path.relative_to(static_files.FOLDER).as_posix()
    for path in static_files.FOLDER.rglob("*.*")
    if path.suffix in static_files.MEDIA_TYPES
)


def test_the_page_needs_no_key_and_has_no_quota_or_capacity(make_client, fake):
    client = make_client(rate_limit="1 per day")
    fake.state = "draining"
    for _ in range(3):
        answer = client.get("/")
        assert (answer.status_code, answer.mimetype) == (200, "text/html")
        assert client.get("/static/js/main.js").status_code == 200
    assert fake.admission.reserved == 0


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith(".html")])
def test_every_file_is_served_with_its_media_type(client, name):
    answer = client.get(f"/static/{name}")
    assert answer.data == (static_files.FOLDER / name).read_bytes()
    assert answer.mimetype == static_files.MEDIA_TYPES[PurePosixPath(name).suffix]


def test_a_page_is_served_by_its_own_route_only(client):
    for name in (name for name in FILES if name.endswith(".html")):
        assert client.get(f"/static/{name}").status_code == 404


def test_no_other_file_is_served(client):
    for name in ("", "none.js", "js", "../page.py", "%2e%2e/app.py", "/etc/passwd", "..%2f..%2fsettings.py"):
        assert client.get(f"/static/{name}").status_code in (401, 404), name


def test_a_browser_keeps_a_file_until_it_changes(client):
    first = client.get("/static/style.css")
    assert first.headers["Cache-Control"] == "no-cache"
    again = client.get("/static/style.css", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert client.get("/static/style.css", headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("path", ["/", "/static/js/main.js"])
def test_nothing_but_our_own_files_may_run_and_no_site_may_frame_the_page(client, path):
    headers = client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_names_no_other_host_and_holds_no_inline_code():
    for name in (name for name in FILES if not name.startswith("vendor/")):
        text = (static_files.FOLDER / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|\bstyle=|\son[a-z]+=\"|<style|<script>", text), name
        assert "localStorage" not in text and "innerHTML" not in text, name


def test_a_server_without_keys_shows_it_to_this_machine_only(make_client):
    client = make_client(api_keys="")
    assert client.get("/").status_code == 200
    assert client.get("/", headers={"Host": "page.example"}).status_code == 403
    assert client.get("/static/style.css", headers={"Origin": "https://page.example"}).status_code == 403


def test_the_page_is_told_what_it_must_know(make_client):
    told = make_client(max_upload_mb=2, max_text_chars=300, transcriber="base.en").get("/page.json")
    assert told.json == {
        "key_required": True,
        "max_text_chars": 300,
        "max_upload_bytes": 2_000_000,
        "max_reference_seconds": 30,
        "recognizes_transcripts": True,
        "stores_voices": False,
    }
    assert make_client(api_keys="").get("/page.json").json["key_required"] is False


def test_the_page_offers_to_store_a_voice_where_the_server_stores_voices(make_client, tmp_path):
    for given, stores in (
        ({}, True),
        ({"allow_anonymous": True}, True),
        ({"allow_anonymous": True, "api_keys": ""}, False),
    ):
        told = make_client(voices_dir=tmp_path, **given).get("/page.json", base_url="http://localhost").json
        assert told["stores_voices"] is stores


def test_the_page_takes_only_reads(client):
    assert client.post("/", headers=KEY).status_code == 405
    assert client.head("/").status_code == 200


def test_third_party_files_have_a_licence_and_the_version_that_the_makefile_fetches():
    vendor = static_files.FOLDER / "vendor"
    version = re.search(r"^SWAGGER_UI := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert f"| {version} |" in (vendor / "README.md").read_text()
    for folder in (path for path in vendor.iterdir() if path.is_dir()):
        assert (folder / "LICENSE").stat().st_size > 0
