import os
import re
import shutil
import subprocess

import pytest

from csm.settings import variables
from tests.packaging.dockerfile import ROOT, Dockerfile, enters_the_build

ours = Dockerfile.ours()
PACKAGES = {target: Dockerfile.ours(f"{target}-packages") for target in ("cuda", "cpu")}


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return listed.stdout.split()


def test_runs_the_entry_point_without_a_shell():
    assert ours.command == ["python", "sesame_server.py"]
    assert ("sesame_server.py", "./") in ours.copies
    assert ours.last("WORKDIR") == "/app"


def test_an_argument_chooses_the_default_target_which_is_for_gpus():
    assert ours.instructions[0] == ("ARG", "VARIANT=cuda")
    assert ours.steps == [*Dockerfile.ours("cuda").steps, ("FROM", "${VARIANT}")]


@pytest.mark.parametrize("target", ["cuda", "cpu"])
def test_the_user_is_unprivileged_and_set_last(target):
    image = Dockerfile.ours(target)
    uid = image.last("USER").split(":")[0]
    assert int(uid) >= 10_000
    assert [name for name, _ in image.steps].index("USER") == len(image.steps) - 1
    assert any(f"--uid {uid}" in run and "--no-create-home" in run for run in image.all("RUN"))


@pytest.mark.parametrize("target", ["cuda", "cpu"])
def test_each_target_has_its_own_packages_and_the_same_server(target):
    image = Dockerfile.ours(target)
    assert f"--from={target}-packages /opt/venv /opt/venv" in image.all("COPY")
    assert all("python -m venv /opt/venv" in stage.last("RUN") for stage in PACKAGES.values())
    assert image.copies == ours.copies and image.command == ours.command and image.environment == ours.environment
    # Only GPUs need a compiler, for Triton.
    assert ("gcc" in " ".join(image.all("RUN"))) == (target == "cuda")


def test_every_cache_is_on_the_volume():
    caches = {name: value for name, value in ours.environment.items() if "CACHE" in name or name == "HF_HOME"}
    caches.pop("PIP_NO_CACHE_DIR")
    assert {"HF_HOME", "CSM_CACHE_DIR", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"} <= caches.keys()
    assert all(value.startswith("/data/") for value in caches.values())
    assert any("install -d -o csm -g csm /data" in run for run in ours.all("RUN"))
    assert "csm-data:/data" in (ROOT / "README.md").read_text()


def test_listens_on_all_addresses_which_needs_keys():
    assert ours.environment["CSM_HOST"] == "0.0.0.0"
    assert ours.last("EXPOSE") == "5000"
    assert ours.last("STOPSIGNAL") == "SIGTERM"


def test_every_setting_in_it_exists():
    assert set(re.findall(r"\bCSM_[A-Z_]+", ours.text)) <= set(variables())


def test_no_secret_is_baked_in():
    told = " ".join(arguments for name, arguments in ours.instructions if name in ("ENV", "ARG", "RUN", "COPY"))
    assert not re.search(r"TOKEN|API_KEY|SECRET|PASSWORD|\.env\b", told)
    assert "ADD" not in {name for name, _ in ours.instructions}


def test_no_index_is_named_but_by_the_build_argument():
    commands = " ".join(arguments for name, arguments in ours.instructions if name == "RUN")
    assert "://" not in commands
    assert '--index-url "$TORCH_INDEX"' in commands


@pytest.fixture
def installed(tmp_path):
    """Run an installing step as the build would, with stand-ins for pip and python that note what they are asked."""
    for name in ("requirements.txt", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "bin").mkdir()
    for name in ("pip", "python"):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\necho "{name} $*" >> calls\n')
        program.chmod(0o755)

    def run(target: str, **arguments: str) -> list[str]:
        environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", **arguments}
        subprocess.run(["sh", "-ec", PACKAGES[target].last("RUN")], cwd=tmp_path, env=environment, check=True)
        return (tmp_path / "calls").read_text().splitlines()

    return run


def test_installs_the_lock_by_hash(installed):
    assert installed("cuda") == [
        "python -m venv /opt/venv",
        "pip install --require-hashes -r requirements.lock",
        "python -c import torch, torchaudio",
    ]


def test_takes_the_pair_from_the_index_of_cpu_wheels_and_the_rest_as_locked(installed, tmp_path):
    assert installed("cpu", TORCH_INDEX="an-index") == [
        "python -m venv /opt/venv",
        "pip install --index-url an-index -r torch.txt",
        "pip install -c pins.txt -r requirements.txt",
        "python -c import torch, torchaudio",
    ]
    pair = (tmp_path / "torch.txt").read_text().split()
    assert [requirement.split("==")[0] for requirement in pair] == ["torch", "torchaudio"]
    pins = (tmp_path / "pins.txt").read_text().split()
    assert len(pins) > 30 and all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)


def test_what_is_copied_exists_and_enters_the_build():
    for source, _ in (*ours.copies, *PACKAGES["cuda"].copies, *PACKAGES["cpu"].copies):
        path = ROOT / source
        assert path.exists(), source
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        wanted = [str(file.relative_to(ROOT)) for file in files if "__pycache__" not in file.parts]
        assert wanted
        assert all(map(enters_the_build, wanted))


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".env",
        ".env.example",
        "csm/.env",
        "csm/web/__pycache__/app.cpython-312.pyc",
        "tests/conftest.py",
        ".venv/bin/python",
        "clone.wav",
        "keys.txt",
        "recipes/demo_model/codec.py",
    ],
)
def test_what_the_image_does_not_need_stays_out(path):
    assert not enters_the_build(path)


def test_only_what_is_copied_enters_the_build():
    sources = tuple(source for image in (ours, *PACKAGES.values()) for source, _ in image.copies)
    entering = [path for path in tracked() if enters_the_build(path)]
    assert entering
    assert all(path.startswith(sources) for path in entering)
