"""docs/architecture.md against the tree: every file has its line, and every name stands where the document says."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "architecture.md"
FOLDERS = ("csm", "benchmarks", "recipes", "deploy", "docs", "examples")

WALK, LISTS = DOCUMENT.read_text().split("\n## Every file\n")
ROW = re.compile(r"^\| \[`([^`]+)`\]\(([^)]+)\) \| .+ \|$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#]+\.py)\)")
NAME = re.compile(r"(?<!\[)`((?!CSM_)[A-Za-z_]\w*(?:\.\w+)*)`")


def has_code(path: Path) -> bool:
    """Whether a module is more than a docstring."""
    body = ast.parse(path.read_text()).body
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)


def tree() -> set[str]:
    # Lists new files too, but not what a build or an installation left behind.
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", *FOLDERS]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    files = [ROOT / name for name in names if not Path(name).name.startswith(".") and (ROOT / name).is_file()]
    kept = [path for path in files if path.name != "__init__.py" or has_code(path)]
    return {"sesame_server.py", *(path.relative_to(ROOT).as_posix() for path in kept)}


def listed() -> list[str]:
    return [name for name, _ in ROW.findall(LISTS)]


def statements() -> list[str]:
    """Paragraphs, list items and table rows that name something and link to a module."""
    parts = re.split(r"\n\n|\n(?=- |\|)", WALK)
    return [part for part in parts if LINK.search(part) and NAME.search(part)]


def test_every_file_has_one_line():
    names = listed()
    folders = tuple(name for name in names if name.endswith("/"))
    files = {path for path in tree() if not path.startswith(folders)}
    assert sorted(name for name in names if name not in folders) == sorted(files)


def test_a_line_for_a_whole_folder_hides_no_code():
    for name in listed():
        if name.endswith("/"):
            assert (ROOT / name).is_dir(), name
            assert not list((ROOT / name).rglob("*.py")), name


def test_every_line_links_to_its_own_file():
    for name, target in ROW.findall(LISTS):
        linked = (DOCUMENT.parent / target).resolve().relative_to(ROOT.resolve()).as_posix()
        # A folder is shown by its README.
        assert linked == (f"{name}README.md" if name.endswith("/") else name)


@pytest.mark.parametrize("statement", statements(), ids=lambda text: " ".join(text.split())[:50])
def test_what_it_names_is_in_a_file_that_it_links_to(statement):
    linked = [(DOCUMENT.parent / target).read_text() for target in LINK.findall(statement)]
    for name in NAME.findall(statement):
        for part in name.split("."):
            assert any(re.search(rf"\b{part}\b", text) for text in linked), name
