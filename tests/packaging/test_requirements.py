import ast
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).parents[2]
# Used without an import of ours: limits loads redis when the storage says so, transformers loads safetensors; of
# resemble-perth only a file is read.
INDIRECT = {"redis", "safetensors", "resemble-perth"}
LOCK = (ROOT / "requirements.lock").read_text()


def requirements(file: str) -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / file).read_text().splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-r")]


def imported(paths: list[Path]) -> set[NormalizedName]:
    """Distributions that the sources import, by their canonical names."""
    owners = metadata.packages_distributions()
    modules = {name.split(".")[0] for path in paths for name in _imports(path)}
    found = {canonicalize_name(owner) for module in modules for owner in owners.get(module, ())}
    # The package itself, where it is installed.
    return found - {"csm-server"}


def _imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module


def names(file: str) -> set[str]:
    return {canonicalize_name(requirement.name) for requirement in requirements(file)}


def brought(by: set[str]) -> set[str]:
    """What these distributions require themselves, as flask requires werkzeug."""
    needed = (Requirement(line) for name in by for line in metadata.requires(name) or ())
    return by | {canonicalize_name(requirement.name) for requirement in needed}


def extras() -> list[Requirement]:
    """What the optional features need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(line) for lines in project["optional-dependencies"].values() for line in lines]


SERVER = [*(ROOT / "csm").rglob("*.py"), ROOT / "sesame_server.py"]
RECIPES = list((ROOT / "recipes").rglob("*.py"))


def test_what_the_server_imports_is_required():
    optional = {canonicalize_name(requirement.name) for requirement in extras()}
    assert imported(SERVER) - brought(names("requirements.txt")) - optional == set()


def test_what_is_optional_is_imported_and_its_range_has_both_ends():
    modules = {module for path in SERVER for module in _imports(path)}
    for requirement in extras():
        assert {bound.operator for bound in requirement.specifier} == {">=", "<"}, requirement
        assert requirement.name.replace("-", "_") in modules


def test_what_is_required_is_imported():
    assert names("requirements.txt") - imported(SERVER + RECIPES) - INDIRECT == set()


def test_what_the_tests_import_is_required():
    tests = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    assert imported(tests) - brought(names("requirements.txt") | names("requirements-dev.txt")) == set()


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_this_environment_is_within_the_ranges(file):
    assert not {
        str(requirement): version
        for requirement in requirements(file)
        if not requirement.specifier.contains(version := metadata.version(requirement.name), prereleases=True)
    }


@pytest.mark.parametrize("file", ["requirements.txt", "requirements-dev.txt"])
def test_every_range_has_both_ends(file):
    for requirement in requirements(file):
        assert {bound.operator for bound in requirement.specifier} == {">=", "<"}, requirement


def locked() -> dict[str, list[str]]:
    """Every locked version of every package, by its canonical name."""
    versions: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", LOCK, re.MULTILINE):
        versions.setdefault(canonicalize_name(name), []).append(version)
    return versions


def test_the_lock_fits_the_requirements():
    versions = locked()
    for requirement in requirements("requirements.txt"):
        assert all(map(requirement.specifier.contains, versions[canonicalize_name(requirement.name)])), requirement


def test_everything_locked_has_hashes():
    entries = re.split(r"^(?=[\w.-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) == sum(map(len, locked().values()))
    assert all("--hash=sha256:" in entry for entry in entries)


def test_no_source_but_the_registry_is_named():
    for file in ("requirements.txt", "requirements-dev.txt", "requirements.lock", "Makefile", ".ci/run"):
        text = (ROOT / file).read_text()
        assert "://" not in text.replace("http://127.0.0.1", "")
        assert "index-url" not in text
