import subprocess
import sys

import pytest

from csm.settings import SettingsError
from csm.web import check
from tests.paths import ROOT
from tests.web.app_settings import app_settings
from tests.web.requests import KEY

OPEN = {
    "/",
    "/docs",
    "/health",
    "/health/live",
    "/health/ready",
    "/openapi.json",
    "/page.json",
    "/static/<path:name>",
}


def test_every_route_but_those_meant_to_be_open_needs_a_key(make_app):
    app = make_app(cors_origins="https://page.example")
    tried = 0
    for rule in app.url_map.iter_rules():
        for method in rule.methods - {"HEAD"}:
            path = rule.rule.replace("<", "").replace(">", "")
            status = app.test_client().open(path, method=method).status_code
            assert (status == 401) == (rule.rule not in OPEN), f"{method} {rule.rule} gave {status}"
            tried += 1
    assert tried >= 8


def test_unknown_addresses_need_a_key_as_well(client):
    assert client.get("/secrets").status_code == 401
    assert client.get("/secrets", headers=KEY).status_code == 404
    assert client.get("/healthy").status_code == 401
    assert client.get("/health/../clone-voice").status_code == 401


def test_addresses_with_extra_slashes_are_not_redirected(client):
    assert client.post("/clone-voice/", headers=KEY).status_code == 415
    assert client.post("//clone-voice", headers=KEY).status_code == 404


def test_two_applications_share_nothing(make_client):
    strict, lenient = make_client(api_keys="one"), make_client(api_keys="two")
    assert strict.get("/x", headers={"X-API-Key": "two"}).status_code == 401
    assert lenient.get("/x", headers={"X-API-Key": "two"}).status_code == 404


@pytest.mark.parametrize(
    ("given", "variable"),
    [
        ({"rate_limit": "many"}, "CSM_RATE_LIMIT:"),
        ({"rate_limit_storage": "nowhere://x"}, "CSM_RATE_LIMIT_STORAGE"),
        ({"api_keys_file": "/does/not/exist"}, "CSM_API_KEYS_FILE"),
    ],
)
def test_mistakes_in_settings_are_found_before_the_server_starts(given, variable):
    with pytest.raises(SettingsError, match=variable):
        check(app_settings(**given))


def test_the_http_layer_does_not_import_torch():
    code = "import sys, csm.web, csm.server; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
