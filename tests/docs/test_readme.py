import re
import subprocess
from pathlib import Path

import pytest

from tests.docs import documents

EXECUTED = {
    ("bash", "curl"), ("bash", "curl-stream"), ("bash", "conversation"), ("python", "client"), ("python", "openai"),
    ("bash", "keys-file"), ("bash", "docker-gpu"), ("bash", "docker-cpu"), ("bash", "serve"), ("bash", "voices"),
    ("bash", "verify"), ("bash", "say"), ("bash", "say-url"), ("python", "api"), ("dockerfile", "weights"),
    ("bash", "reference"), ("bash", "watermark"), ("bash", "certificate"), ("bash", "compose"), ("dockerfile", "gated"),
    ("bash", "gated"),
}  # fmt: skip
TARGETS = {("bash", "demo"), ("bash", "real"), ("bash", "bench"), ("bash", "serve"), ("bash", "cpu")}
INSTALLS = {("bash", "install"), ("bash", "cpu")}
# For the operator's own machines; the tests of nginx and HAProxy do the same in their own way.
EXAMPLES = {
    ("bash", "slow-requests"), ("bash", "nginx-restart"), ("bash", "haproxy-restart"), ("yaml", "kubernetes"),
}  # fmt: skip


def test_every_block_is_tested():
    assert documents.blocks().keys() == EXECUTED | TARGETS | INSTALLS | EXAMPLES


@pytest.mark.parametrize("name", [name for language, name in documents.blocks() if language == "bash"])
def test_every_command_parses(name):
    result = subprocess.run(["bash", "-n"], input=documents.block("bash", name), text=True, capture_output=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", sorted(name for _, name in TARGETS))
def test_every_target_exists(name):
    targets = re.findall(r"\bmake (\w+)", documents.block("bash", name))
    assert targets
    for target in targets:
        result = subprocess.run(["make", "-n", target], cwd=documents.ROOT, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr


def test_the_cpu_wheels_are_those_of_the_requirements():
    required = (documents.ROOT / "requirements.txt").read_text()
    pinned = re.findall(r'"(torch\S+)"', documents.block("bash", "cpu"))
    assert [name.split(">")[0] for name in pinned] == ["torch", "torchaudio"]
    for requirement in pinned:
        assert re.search(rf"^{re.escape(requirement)} ", required, re.MULTILINE), requirement
    index = re.search(r"--index-url (\S+)", documents.block("bash", "cpu"))
    assert index
    assert f"ARG TORCH_INDEX={index[1]}\n" in (documents.ROOT / "Dockerfile").read_text()


DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/api.md",
    "docs/architecture.md",
    "docs/deployment.md",
    "docs/performance.md",
    "docs/settings.md",
    "docs/watermark.md",
    "examples/README.md",
    "examples/nextjs/README.md",
)


def anchors(path: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", documents.FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document):
    path = documents.ROOT / document
    for target in re.findall(r"\]\(([^)]+)\)", documents.FENCE.sub("", path.read_text())):
        if not target.startswith("https://"):
            file, _, anchor = target.partition("#")
            found = (path.parent / file).resolve() if file else path
            assert found.exists(), target
            assert not anchor or anchor in anchors(found), target
