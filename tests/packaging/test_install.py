"""The package as `pip install .` makes it: built, and installed into an environment of its own."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import wave
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import csm
from tests.paths import ROOT
from tests.real_server import real_server
from tests.reference_audio import VOICE

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what git knows, without what lies about."""
    folder = tmp_path_factory.mktemp("wheel")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "source" / name)
    # setuptools is there because torch requires it; nothing is downloaded.
    options = ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*PIP, "wheel", *options, str(folder / "source")], check=True, capture_output=True)
    [made] = folder.glob("*.whl")
    return made


def install(folder: Path, *what: str) -> Path:
    """Make an environment with our package in it, and the dependencies of this one beside it; return its `bin`."""
    venv.create(folder, symlinks=True)
    [site] = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    options = ["--no-deps", "--no-build-isolation"]
    subprocess.run([*PIP, "--python", str(folder), "install", *options, *what], check=True, capture_output=True)
    return folder / "bin"


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("environment"), str(wheel))


def run(command: list[str | Path], folder: Path, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run where nothing of this checkout can be imported."""
    given = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=folder, env=given | settings, capture_output=True, text=True)


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "csm", "sesame_server.py"], cwd=ROOT, capture_output=True, text=True)
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == set(listed.stdout.splitlines())
    assert {
        "csm/py.typed",
        "csm/assets/demo/config.json",
        "csm/assets/golden.json",
        "csm/web/static/docs/docs.html",
    } <= names


def test_the_requirements_are_those_of_the_one_file(wheel: Path) -> None:
    lines = (line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    wanted = {str(Requirement(line)) for line in lines if line}
    found = [Requirement(line) for line in metadata(wheel).get_all("Requires-Dist", [])]
    assert {str(requirement) for requirement in found if "extra" not in str(requirement.marker)} == wanted


def test_the_version_stands_in_one_place(wheel: Path) -> None:
    assert metadata(wheel)["Version"] == csm.__version__
    assert csm.__version__ not in (ROOT / "pyproject.toml").read_text()


def test_the_command_is_that_of_the_installed_package(environment: Path, tmp_path: Path) -> None:
    assert run([environment / "csm", "--version"], tmp_path).stdout == f"csm {csm.__version__}\n"
    where = run([environment / "python", "-c", "import csm, sesame_server; print(csm.__file__)"], tmp_path).stdout
    assert Path(where).is_relative_to(environment.parent)


def test_an_editable_installation_runs_from_its_source(wheel: Path, tmp_path: Path) -> None:
    source = wheel.parent / "source"
    python = install(tmp_path / "environment", "--editable", str(source)) / "python"
    where = run([python, "-c", "import csm, sesame_server; print(csm.__file__)"], tmp_path).stdout
    assert Path(where).is_relative_to(source)
    assert run([python, "-m", "csm", "--version"], tmp_path).stdout == f"csm {csm.__version__}\n"


@pytest.mark.slow
def test_it_says_something_and_knows_that_it_can(environment: Path, tmp_path: Path) -> None:
    checked = run([environment / "csm", "doctor"], tmp_path, CSM_MODEL="demo", CSM_DEVICE="cpu")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    words = ["say", "--model", "demo", "--voice", str(VOICE), "--text", "Hello from a wheel.", "-o", "out.wav"]
    said = run([environment / "csm", *words], tmp_path)
    assert said.returncode == 0, said.stderr
    with wave.open(str(tmp_path / "out.wav")) as wav:
        assert wav.getnframes() / wav.getframerate() > 0.5


@pytest.mark.slow
def test_it_serves(environment: Path, tmp_path: Path) -> None:
    with real_server(tmp_path, [str(environment / "csm"), "serve"], {"PYTHONPATH": ""}) as server:
        assert server.health()["version"] == csm.__version__
        url = f"http://127.0.0.1:{server.port}"
        words = ["say", "--url", url, "--voice", str(VOICE), "--text", "Hello from a server.", "-o", "out.wav"]
        said = run([environment / "csm", *words], tmp_path, VOICE_SERVER_KEY="secret")
        assert said.returncode == 0, said.stderr
        server.assert_serves()
