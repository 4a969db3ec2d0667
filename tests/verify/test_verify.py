"""`python -m csm.verify` on the tiny model in sesame's layout, whole and damaged."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from csm.errors import ModelUnavailable
from csm.settings import load
from csm.verify import examine
from csm.verify.__main__ import Plan, main, verify
from csm.verify.golden import Golden
from csm.verify.report import Report
from tests import checkpoint_layouts
from tests.model import fake_hub
from tests.verify.conftest import RECORDING, write_wav

ROOT = Path(__file__).resolve().parents[2]

Verified = Callable[..., tuple[bool, list[dict[str, Any]], dict[str, str]]]
"""Verifies a checkpoint: whether it passed, all findings, and the result of each check."""


@pytest.fixture
def run(folder: Path, recording: Path, golden_file: Callable[..., Path], tmp_path: Path) -> Verified:
    """The copy, verified in this process."""

    def verified(*precisions: str, audio: Path = recording, **changed: Any) -> Any:
        settings = load(None, model=str(folder), device="cpu", precision="float32")
        plan = Plan(settings, Golden.load(golden_file(**changed)), precisions or ("float32",), 2, audio)
        passed = verify(plan, Report(tmp_path / "report.json", {}), examine.examine)
        findings = json.loads((tmp_path / "report.json").read_text())["findings"]
        return passed, findings, {finding["check"]: finding["result"] for finding in findings}

    return verified


@pytest.mark.parametrize(
    "precisions",
    [("float32",), pytest.param(("float32", "bfloat16", "float16", "int8", "int4"), marks=pytest.mark.slow)],
)
@pytest.mark.slow
def test_a_correct_installation_passes_and_is_measured(
    precisions: tuple[str, ...],
    folder: Path,
    recording: Path,
    golden_file: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CSM_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("CSM_DEVICE", "cpu")
    given = ["--model", folder, "--golden", golden_file(), "--audio", recording, "--out", tmp_path / "report.json"]
    assert main([*map(str, given), "--precision", *precisions, "--frames", "12", "--hash"]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["verdict"] == "passed"
    results = {finding["check"]: finding["result"] for finding in report["findings"]}
    agreements = {f"agreement in {precision}" for precision in precisions}
    assert results == dict.fromkeys({"files", "prompt", "encoder", "codes"} | agreements, "passed")
    assert [speed["precision"] for speed in report["speeds"]] == list(precisions)
    assert report["speeds"][0]["agreement"] == 1.0 and report["speeds"][0]["timed_frames"] == 11
    assert all(speed["rtf"] > 0 and speed["resident_gb"] > 0.1 for speed in report["speeds"])
    printed = capsys.readouterr().out
    assert "verdict: passed" in printed and "RTF" in printed
    # It is meant to be shown to strangers.
    assert report["model"] == "csm" and str(folder.parent) not in json.dumps(report)


def damage(folder: Path) -> None:
    """Overwrite one tensor in place, as a bad disk would."""
    path = folder / checkpoint_layouts.SHARDS[0]
    tensors = load_file(path)
    tensors["backbone_model.layers.1.mlp.down_proj.weight"].neg_()
    save_file(tensors, path, {"format": "pt"})


def test_a_damaged_tensor_is_found_by_its_hash_and_by_what_it_says(run: Verified, folder: Path) -> None:
    damage(folder)
    passed, _, results = run()
    assert not passed
    assert results["files"] == results["codes"] == "failed"
    assert results["prompt"] == results["encoder"] == "passed"


def test_a_damaged_codec_is_found_by_the_codes_of_the_recording(run: Verified, folder: Path) -> None:
    path = folder / checkpoint_layouts.SHARDS[1]
    tensors = load_file(path)
    for name in [name for name in tensors if name.endswith("embed_sum")]:
        tensors[name] = tensors[name].flip(0)
    save_file(tensors, path, {"format": "pt"})
    assert run(files={})[2]["encoder"] == "failed"


def test_other_token_ids_fail(run: Verified, golden: dict[str, Any]) -> None:
    other = golden["prompt"] | {"ids": [*golden["prompt"]["ids"][:-1], 7]}
    passed, _, results = run(prompt=other)
    assert not passed and results.pop("prompt") == "failed" and set(results.values()) == {"passed"}


def test_a_tokenizer_that_its_own_template_contradicts_fails(run: Verified, folder: Path) -> None:
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("'['", "'('"))
    _, findings, results = run(files={})
    assert results["prompt"] == "failed"
    assert "differ from the chat template:" in findings[1]["detail"]


def test_a_template_that_cannot_be_run_is_reported_and_fails_nothing(run: Verified, folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{% broken")
    _, findings, results = run(files={})
    assert results["prompt"] == "passed" and "cannot be run" in findings[1]["detail"]


def test_a_missing_shard_fails_every_check_that_needs_it(run: Verified, folder: Path) -> None:
    (folder / checkpoint_layouts.SHARDS[1]).unlink()
    _, _, results = run("bfloat16", "float32")
    # The server would run in float32 here.
    assert results == {
        "files": "failed",
        "prompt": "passed",
        "agreement in bfloat16": "not checked",
        "agreement in float32": "failed",
    }


def test_another_recording_fails_and_a_missing_one_is_reported(
    run: Verified, tmp_path: Path, golden: dict[str, Any]
) -> None:
    write_wav(tmp_path / "other.wav", seed=1)
    _, findings, results = run(audio=tmp_path / "other.wav")
    assert results["encoder"] == "failed" and RECORDING in json.dumps(findings)
    assert run(encoder={})[2]["encoder"] == "not checked"


def test_a_checkpoint_without_known_values_gets_the_other_checks(layout: Callable[[str], Path], tmp_path: Path) -> None:
    settings = load(None, model=str(layout("unsloth")), device="cpu", precision="bfloat16")
    report = Report(tmp_path / "r.json", {})
    assert verify(Plan(settings, precisions=("float32", "bfloat16"), timed_frames=2), report, examine.examine)
    assert {finding.check: finding.result for finding in report.findings} == {
        "files": "passed",
        "prompt": "passed",
        "encoder": "not checked",
        "codes": "not checked",
        "agreement in float32": "passed",
        "agreement in bfloat16": "passed",
    }


def test_a_checkpoint_that_cannot_be_fetched_fails_with_a_remedy(tmp_path: Path) -> None:
    assert main(["--model", str(tmp_path), "--out", str(tmp_path / "r.json")]) == 1
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["verdict"] == "failed" and "config.json is missing" in report["findings"][0]["detail"]


def test_wrong_settings_end_the_verification_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CSM_PRECISON", "int8")
    assert main(["--out", str(tmp_path / "r.json")]) == 2
    assert not (tmp_path / "r.json").exists()


@pytest.mark.parametrize(("option", "content"), [("--out", None), ("--golden", None), ("--golden", "[]")])
def test_unusable_files_are_reported(
    option: str, content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / ("given.json" if content else "none/such.json")
    if content:
        path.write_text(content)
    given = {"--out": str(tmp_path / "r.json"), option: str(path)}
    assert main(["--model", str(tmp_path), *(word for pair in given.items() for word in pair)]) == 2
    assert "--out" in capsys.readouterr().err


def test_no_api_keys_are_needed_to_verify(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CSM_HOST", "0.0.0.0")
    assert main(["--model", str(tmp_path), "--out", str(tmp_path / "r.json")]) == 1


@pytest.mark.parametrize(("end", "words"), [("kill -9 $$", "memory"), ("exit 3", "printed above")])
def test_a_process_that_ends_without_an_answer_is_reported(
    end: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{end}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    job = examine.Job(str(tmp_path), "cpu", "float32", "0", "Say this.", None, 1, 1)
    with pytest.raises(ModelUnavailable, match=words):
        examine.examine_in_subprocess(job)


@pytest.mark.slow
def test_from_the_hub_with_its_recording(
    layout: Callable[[str], Path], recording: Path, golden_file: Callable[..., Path], tmp_path: Path
) -> None:
    """In a process of its own, because the address of the Hub is read when its library is imported."""
    files = fake_hub.files_in(layout("sesame")) | {RECORDING: recording.read_bytes()}
    given = ["--model", "good/model", "--golden", golden_file(), "--out", tmp_path / "r.json"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "CSM_"))}
    with fake_hub.hub(files) as server:
        environment = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": server.address, "CSM_PRECISION": "float32"}
        done = subprocess.run(
            [sys.executable, "-m", "csm.verify", *map(str, given), "--precision", "float32", "--frames", "8"],
            env=clean | environment | {"HF_HUB_DISABLE_TELEMETRY": "1", "CSM_DEVICE": "cpu"},
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert server.files_asked == checkpoint_layouts.NEEDED | {RECORDING}
    report = json.loads((tmp_path / "r.json").read_text())
    assert [finding["result"] for finding in report["findings"]] == ["passed"] * 5
