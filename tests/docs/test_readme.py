import re
import subprocess

import pytest

from tests.docs import readme

EXECUTED = {
    ("bash", "curl"), ("bash", "curl-stream"), ("bash", "conversation"), ("python", "client"), ("python", "openai"),
    ("ts", "app/api/voice-clone/route.ts"),
    ("bash", "keys-file"), ("bash", "docker-gpu"), ("bash", "docker-cpu"), ("bash", "serve"), ("bash", "voices"),
    ("bash", "verify"), ("bash", "say"), ("bash", "say-url"), ("python", "api"), ("dockerfile", "weights"),
    ("bash", "watermark"),
}  # fmt: skip
TARGETS = {("bash", "demo"), ("bash", "real"), ("bash", "bench"), ("bash", "serve"), ("bash", "cpu")}
INSTALLS = {("bash", "install"), ("bash", "cpu")}


def test_every_block_is_tested():
    assert readme.blocks().keys() == EXECUTED | TARGETS | INSTALLS


@pytest.mark.parametrize("name", [name for language, name in readme.blocks() if language == "bash"])
def test_every_command_parses(name):
    result = subprocess.run(["bash", "-n"], input=readme.block("bash", name), text=True, capture_output=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", sorted(name for _, name in TARGETS))
def test_every_target_exists(name):
    targets = re.findall(r"\bmake (\w+)", readme.block("bash", name))
    assert targets
    for target in targets:
        result = subprocess.run(["make", "-n", target], cwd=readme.ROOT, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr


def test_the_cpu_wheels_are_those_of_the_requirements():
    required = (readme.ROOT / "requirements.txt").read_text()
    pinned = re.findall(r'"(torch\S+)"', readme.block("bash", "cpu"))
    assert [name.split(">")[0] for name in pinned] == ["torch", "torchaudio"]
    for requirement in pinned:
        assert re.search(rf"^{re.escape(requirement)} ", required, re.MULTILINE), requirement
    index = re.search(r"--index-url (\S+)", readme.block("bash", "cpu"))
    assert index
    assert f"ARG TORCH_INDEX={index[1]}\n" in (readme.ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "docs/architecture.md",
        "docs/performance.md",
        "docs/deployment.md",
        "examples/README.md",
        "examples/nextjs/README.md",
    ],
)
def test_every_link_leads_somewhere(document):
    path = readme.ROOT / document
    prose = readme.FENCE.sub("", path.read_text())
    titles = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}
    for target in re.findall(r"\]\(([^)]+)\)", prose):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not target.startswith("https://"):
            assert (path.parent / target.split("#")[0]).exists(), target
