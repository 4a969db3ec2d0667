"""Where checkpoints come from, against a Hub on loopback, each case as a process of its own would meet it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from csm.errors import ModelUnavailable
from csm.model import hub
from csm.model.checkpoint import open_checkpoint
from csm.settings import load
from tests import checkpoint_layouts
from tests.model import fake_hub

ROOT = Path(__file__).resolve().parents[2]

ASK = """
import json, sys
from csm.errors import ModelUnavailable
from csm.model import hub
from csm.settings import load
told = {}
for name, ways in json.loads(sys.argv[1]).items():
    model, _, revision = name.partition("@")
    for way in ways:
        try:
            told[f"{way} {name}"] = str(getattr(hub, way)(load(None, model=model, revision=revision or None)))
        except ModelUnavailable as error:
            told[f"{way} {name}"] = f"REFUSED {error}"
assert "torch" not in sys.modules
print(json.dumps(told))
"""


def ask(cases: dict[str, list[str]], home: Path, **environment: str) -> dict[str, str]:
    """What `hub.check` and `hub.fetch` say of each `repository@revision`."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    given = {"HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(ROOT), **environment}
    run = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps(cases)],
        env=clean | given,
        capture_output=True,
        text=True,
        timeout=120,
        cwd=home,
    )
    assert run.returncode == 0, run.stderr
    result: dict[str, str] = json.loads(run.stdout)
    return result


@pytest.fixture(scope="module")
def online() -> Iterator[fake_hub.Hub]:
    with fake_hub.hub() as server:
        yield server


@pytest.fixture(scope="module")
def told(online: fake_hub.Hub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    both = ["check", "fetch"]
    cases = {f"{owner}/model": both for owner in fake_hub.REFUSALS if owner != "empty"}
    cases |= {"empty/model": ["check"], "good/model@nope": both, "not/a/name": both, "good/model": both}
    return ask(cases, tmp_path_factory.mktemp("home"), HF_ENDPOINT=online.address)


@pytest.mark.parametrize("way", ["check", "fetch"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        *(
            (f"{owner}/model", [f"https://huggingface.co/{owner}/model", "HF_TOKEN", "unsloth/csm-1b", "demo"])
            for owner in ("gated", "forbidden")
        ),
        ("private/model", ["neither a folder here nor a repository", "HF_TOKEN", "CSM_MODEL=demo"]),
        ("missing/model", ["neither a folder here nor a repository", "spelling", "CSM_MODEL=demo"]),
        ("not/a/name", ["neither a folder here nor a repository", "spelling"]),
        ("good/model@nope", ["no revision nope", "CSM_REVISION"]),
        ("token/model", ["401", "token/model", "HF_TOKEN"]),
        ("tea/model", ["418", "tea/model"]),
    ],
)
def test_a_refusal_is_one_line_that_names_the_remedy(
    told: dict[str, str], way: str, name: str, words: list[str]
) -> None:
    message = told[f"{way} {name}"]
    assert message.startswith("REFUSED") and "\n" not in message
    for word in words:
        assert word in message


def test_a_repository_without_a_checkpoint_is_refused(told: dict[str, str]) -> None:
    assert "config.json is missing" in told["check empty/model"]


def test_only_weights_without_code_are_fetched(told: dict[str, str], online: fake_hub.Hub) -> None:
    folder = Path(told["fetch good/model"])
    fetched = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert fetched == {name for name in fake_hub.FILES if name.endswith((".safetensors", ".json", ".jinja"))} - {
        "prompts/secret.json",
        "model.safetensors",
    }
    assert (folder / "transformers-00002-of-00002.safetensors").read_bytes() == b"second"
    assert not [path for path in online.asked if path.endswith((".pt", ".bin", ".py", ".wav"))]


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("sesame", checkpoint_layouts.NEEDED),
        ("unsloth", {name for name in checkpoint_layouts.NEEDED if "transformers" not in name} | {"model.safetensors"}),
    ],
)
def test_exactly_the_needed_files_of_a_repository_are_fetched_and_load(
    name: str, needed: set[str], layout: Callable[[str], Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with fake_hub.hub(fake_hub.files_in(layout(name))) as server:
        folder = Path(ask({"some/csm": ["check", "fetch"]}, tmp_path, HF_ENDPOINT=server.address)["fetch some/csm"])
    assert server.files_asked == needed
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == needed
    # It refuses what is missing and warns of what is not expected.
    caplog.clear()
    with caplog.at_level("WARNING"):
        open_checkpoint(folder).load(torch.float32, torch.device("cpu"))
    assert not caplog.records


def test_what_is_missing_is_counted_in_bytes(online: fake_hub.Hub, tmp_path: Path) -> None:
    needed: tuple[str, ...] = (
        "config.json",
        "tokenizer.json",
        "chat_template.jinja",
        "transformers.safetensors.index.json",
    )
    needed += tuple(name for name in fake_hub.FILES if name.startswith("transformers-"))
    address = {"HF_ENDPOINT": online.address}
    before = ask(
        {"good/model": ["missing_bytes"], "demo": ["missing_bytes"], "gated/model": ["missing_bytes"]},
        tmp_path,
        **address,
    )
    # The configuration is downloaded to learn which weights are needed.
    assert before["missing_bytes good/model"] == str(sum(len(fake_hub.FILES[name]) for name in needed[1:]))
    assert before["missing_bytes demo"] == "0" and before["missing_bytes gated/model"].startswith("REFUSED")
    ask({"good/model": ["fetch"]}, tmp_path, **address)
    assert ask({"good/model": ["missing_bytes"]}, tmp_path, **address) == {"missing_bytes good/model": "0"}


def test_the_original_layout_is_refused_before_its_gigabytes_are_fetched(
    layout: Callable[[str], Path], tmp_path: Path
) -> None:
    with fake_hub.hub(fake_hub.files_in(layout("torchtune"))) as server:
        told = ask({"some/csm": ["check", "fetch"]}, tmp_path, HF_ENDPOINT=server.address)
    assert server.files_asked == {"config.json"}
    for message in told.values():
        assert message.startswith("REFUSED") and "torchtune" in message and "CSM_MODEL=sesame/csm-1b" in message


def test_an_unreadable_configuration_is_reported(tmp_path: Path) -> None:
    with fake_hub.hub({"config.json": b"{"}) as server:
        told = ask({"some/csm": ["check", "fetch"]}, tmp_path, HF_ENDPOINT=server.address)
    assert all(message.startswith("REFUSED") and "config.json is not JSON" in message for message in told.values())


@pytest.mark.parametrize("way", ["offline", pytest.param("no-network", marks=pytest.mark.slow)])
def test_without_the_hub_cached_files_are_used_and_missing_ones_are_reported(
    way: str, online: fake_hub.Hub, tmp_path: Path
) -> None:
    before = ask({"good/model": ["fetch"]}, tmp_path, HF_ENDPOINT=online.address)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        away = {"HF_ENDPOINT": f"http://127.0.0.1:{nobody.getsockname()[1]}"}
        away |= {"HF_HUB_OFFLINE": "1"} if way == "offline" else {}
        after = ask({"good/model": ["fetch"], "other/model": ["check"]}, tmp_path, **away)
    assert after["fetch good/model"] == before["fetch good/model"]
    message = after["check other/model"]
    assert message.startswith("REFUSED") and "\n" not in message
    assert "HF_HUB_OFFLINE" in message and "CSM_MODEL=demo" in message


def settings(model: str) -> Any:
    return load(None, model=model)


def test_the_demo_model_needs_no_hub() -> None:
    hub.check(settings("demo"))
    assert hub.fetch(settings("demo")) == hub.DEMO_FOLDER
    assert (hub.DEMO_FOLDER / "config.json").is_file()


def test_a_folder_needs_no_hub(tiny: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny()
    assert hub.fetch(settings(str(folder))) == folder
    monkeypatch.chdir(folder.parent)
    assert hub.fetch(settings(f"./{folder.name}")).resolve() == folder
    hub.check(settings(folder.name))


@pytest.mark.parametrize("name", ["/no/such/folder", "./none", "~/none-such", "..\\windows", "EMPTY"])
def test_a_folder_without_a_checkpoint_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"config\.json is missing"):
        hub.check(settings(str(tmp_path) if name == "EMPTY" else name))
