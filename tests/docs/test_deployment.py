"""The commands in docs/deployment.md."""

import subprocess
import sys
from pathlib import Path

from tests.docs import documents

BLOCKS = documents.blocks()


def test_the_certificate_to_try_it_with_is_for_localhost(tmp_path):
    done = subprocess.run(["bash", "-ec", BLOCKS["bash", "certificate"]], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    certificate = tmp_path / "deploy" / "certs" / "csm.crt"
    check = ["openssl", "verify", "-CAfile", certificate, "-verify_hostname", "localhost", certificate]
    assert subprocess.run(check, capture_output=True).returncode == 0
    assert (tmp_path / "deploy" / "certs" / "csm.key").exists()


def test_the_compose_files_that_are_named_exist():
    words = BLOCKS["bash", "compose"].split()
    files = [words[index + 1] for index, word in enumerate(words) if word == "-f"]
    assert files and all((documents.ROOT / file).exists() for file in files)


def test_the_token_of_a_gated_model_is_not_stored_in_the_image(tmp_path):
    text = BLOCKS["dockerfile", "gated"]
    (tmp_path / "Dockerfile").write_text(text)
    hadolint = Path(sys.executable).with_name("hadolint")
    linted = subprocess.run([hadolint, "--ignore", "DL3006", tmp_path / "Dockerfile"], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout
    assert "--mount=type=secret,id=hf_token,env=HF_TOKEN" in text
    assert "--secret id=hf_token,env=HF_TOKEN" in BLOCKS["bash", "gated"]
    assert not any(line.startswith(("ARG", "COPY")) or "ENV HF_TOKEN" in line for line in text.splitlines())
