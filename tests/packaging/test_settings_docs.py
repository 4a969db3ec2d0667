import re
import subprocess
import sys

import pytest

from csm import settings
from csm.service_links import service_links
from docs import settings as documented

ROOT = documented.ROOT


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch):
    for name in (*settings.variables(), "PORT"):
        monkeypatch.delenv(name, raising=False)


def test_settings_documents_are_up_to_date():
    assert documented.ENV_EXAMPLE.read_text() == documented.env_example(), "run `make docs`"
    assert documented.DOCUMENT.read_text() == documented.document(), "run `make docs`"


def test_the_example_file_changes_no_setting():
    assert settings.load(documented.ENV_EXAMPLE) == settings.load(None)


def test_the_defaults_in_the_example_are_the_defaults(tmp_path):
    everything = tmp_path / ".env"
    everything.write_text(re.sub(r"^#(?=\w+=)", "", documented.ENV_EXAMPLE.read_text(), flags=re.MULTILINE))
    assert "\nCSM_PORT=5000\n" in everything.read_text()
    assert settings.load(everything) == settings.load(None)


def test_a_stale_document_is_found(tmp_path, monkeypatch, capsys):
    stale = tmp_path / "settings.md"
    stale.write_text(documented.DOCUMENT.read_text().replace("| `CSM_PORT` | `5000` |", "| `CSM_PORT` | `5001` |"))
    monkeypatch.setattr(documented, "DOCUMENT", stale)
    monkeypatch.setattr(sys, "argv", ["settings"])
    assert documented.main() == 1
    assert "settings.md" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["settings", "--write"])
    monkeypatch.setattr(documented, "ENV_EXAMPLE", tmp_path / ".env.example")
    assert documented.main() == 0
    assert stale.read_text() == (ROOT / "docs" / "settings.md").read_text()


def test_every_setting_named_anywhere_exists():
    listed = subprocess.run(
        ["git", "grep", "-nowE", "CSM_[A-Z_]+", "--", ":!tests", ":!CHANGELOG.md"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    names = {line.rsplit(":", 1)[1] for line in listed.stdout.splitlines()}
    # `CSM_…` and `CSM_<FIELD>` speak of the prefix; others are told of because Kubernetes sets them.
    known = {*settings.variables(), "CSM_", *service_links(dict.fromkeys(names, ""), settings.PREFIX)}
    assert [line for line in listed.stdout.splitlines() if line.rsplit(":", 1)[1] not in known] == []
