"""`csm doctor`: each line is `ok` or says what to do."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch

from csm import cli
from csm.cli import doctor, machine
from csm.cli.doctor import Doctor, Problem
from csm.engine import devices
from csm.engine.devices import Placement
from tests.model import fake_hub
from tests.paths import ROOT
from tests.ports import free_port

CHECKS = [
    "python",
    "torch",
    "settings",
    "device",
    "ffmpeg",
    "watermark",
    "transcriber",
    "model",
    "disk",
    "memory",
    "port",
]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CSM_PORT", str(free_port()))
    monkeypatch.setenv("CSM_CACHE_DIR", str(tmp_path / "cache"))


def examine(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit status; and the result and the detail of each check."""
    status = cli.main(["doctor"])
    lines = [line.split(": ", 1) for line in capsys.readouterr().out.splitlines()]
    return status, {head.rsplit(" ", 1)[1]: (head.rsplit(" ", 1)[0].strip(), detail) for head, detail in lines}


def apart(folder: Path, *path: Path, **environment: str) -> tuple[int, dict[str, str], str]:
    """The same in a process of its own: exit status, lines by check, and standard error."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    given |= {"PYTHONPATH": os.pathsep.join(map(str, (*path, ROOT))), "HF_HOME": str(folder / "hf"), **environment}
    command = [sys.executable, "-m", "csm", "doctor"]
    done = subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True)
    return done.returncode, {line.split(":")[0].split()[-1]: line for line in done.stdout.splitlines()}, done.stderr


def test_a_machine_that_can_serve_is_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CSM_MODEL", "demo")
    monkeypatch.setenv("CSM_DEVICE", "cpu")
    status, lines = examine(capsys)
    assert list(lines) == CHECKS
    assert {result for result, _ in lines.values()} == {"ok"} and status == 0
    assert torch.__version__ in lines["torch"][1] and lines["device"][1] == "cpu, float32"


def test_a_misspelt_setting_leaves_what_depends_on_it_unchecked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CSM_MODLE", "demo")
    status, lines = examine(capsys)
    assert status == 1 and lines["settings"] == ("to do", "unknown setting CSM_MODLE: did you mean CSM_MODEL?")
    assert [name for name, (result, _) in lines.items() if result == "ok"] == ["python", "torch", "ffmpeg"]
    assert [name for name, (result, _) in lines.items() if result == "to do"] == ["settings"]


def test_a_pair_that_does_not_match_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "torchaudio.py").write_text('raise OSError("_torchaudio.so: undefined symbol: _ZN3c10")')
    status, lines, errors = apart(tmp_path, tmp_path / "broken", CSM_MODEL="demo")
    assert (status, errors) == (1, "") and list(lines) == CHECKS
    assert lines["torch"].startswith("to do ") and "undefined symbol" in lines["torch"]
    assert "from one index" in lines["torch"]


def test_a_missing_ffmpeg_is_told(tmp_path: Path) -> None:
    status, lines, _ = apart(tmp_path, CSM_MODEL="demo", IMAGEIO_FFMPEG_EXE="/nowhere/ffmpeg", PATH="/nowhere")
    assert status == 1 and lines["ffmpeg"].startswith("to do ") and "pip install imageio-ffmpeg" in lines["ffmpeg"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CSM_MODEL", "demo")
    monkeypatch.setenv("CSM_DEVICE", "cuda")
    status, lines = examine(capsys)
    result, detail = lines["device"]
    assert (status, result) == (1, "to do") and "nvidia-smi" in detail
    assert lines["memory"] == ("not checked", "the device is not known")


def test_an_old_driver_must_be_seen_to(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def init() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).")

    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setenv("CSM_MODEL", "demo")
    status, lines = examine(capsys)
    assert status == 1 and lines["device"][0] == "to do" and "too old" in lines["device"][1]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[float], None]:
    """Make torch report a GPU with so many gigabytes free."""
    (tmp_path / "nvidia").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5")
    monkeypatch.setattr(machine, "NVIDIA", tmp_path / "nvidia")

    def report(free: float) -> None:
        monkeypatch.setattr(devices, "place", lambda _: Placement(torch.device("cuda", 0), "bfloat16"))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "NVIDIA L4")
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (int(free * 1e9), 24_000_000_000))

    return report


def test_a_gpu_is_named_with_its_driver(gpu: Callable[[float], None]) -> None:
    gpu(22.5)
    found = Doctor()
    found.settings()
    assert found.device() == "cuda:0 (NVIDIA L4, driver 550.54.15), bfloat16, 22.5 GB of 24.0 GB free"
    assert found.memory().endswith("(0.0 GB needed)")


def test_a_gpu_that_is_full_is_told(gpu: Callable[[float], None], monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(5)
    found = Doctor()
    found.settings()
    with pytest.raises(Problem, match=r"5\.0 GB free, and 8\.0 GB are needed: .*nvidia-smi"):
        found.device()
    monkeypatch.setenv("CSM_MODEL", "demo")
    found.settings()
    assert "5.0 GB of 24.0 GB free" in found.device()


@pytest.mark.parametrize(
    ("precision", "free", "told"),
    [
        ("int8", 10, "11.0 GB are needed: end other programs, or add swap"),
        ("float32", 9, "9.5 GB are needed: .*CSM_PRECISION=int8"),
    ],
)
def test_too_little_memory_is_told(precision: str, free: int, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda: free * 1_000_000_000)
    monkeypatch.setenv("CSM_DEVICE", "cpu")
    monkeypatch.setenv("CSM_PRECISION", precision)
    found = Doctor()
    found.settings()
    found.device()
    with pytest.raises(Problem, match=rf"{free}\.0 GB are free, and {told}"):
        found.memory()
    monkeypatch.setattr(machine, "free_memory", lambda: 12_000_000_000)
    assert found.memory() == f"12.0 GB free ({'11.0' if precision == 'int8' else '9.5'} GB needed)"


def test_too_little_room_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_disk", lambda _: 3_000_000_000)
    monkeypatch.setenv("CSM_DEVICE", "cpu")
    found = Doctor()
    found.settings()
    found.device()
    with pytest.raises(Problem, match=r"3\.0 GB can be written in .*3\.5 GB are needed: .*CSM_CACHE_DIR"):
        found.disk()
    monkeypatch.setattr(doctor, "BUNDLE", 2_000_000_000)
    assert "(2.0 GB needed)" in found.disk()


@pytest.fixture(scope="module")
def hub(tiny: Callable[..., Path]) -> Iterator[fake_hub.Hub]:
    with fake_hub.hub(fake_hub.files_in(tiny())) as server:
        yield server


@pytest.mark.slow
def test_access_to_the_model_is_told(hub: fake_hub.Hub, tmp_path: Path) -> None:
    given = {"HF_ENDPOINT": hub.address, "CSM_DEVICE": "cpu", "CSM_PRECISION": "float32"}
    size = sum(map(len, hub.files.values())) / 1e9
    _, lines, _ = apart(tmp_path, CSM_MODEL="gated/model", **given)
    assert lines["model"].startswith("to do ") and "accept its terms" in lines["model"]
    _, lines, _ = apart(tmp_path, CSM_MODEL="good/model", **given)
    assert lines["model"].endswith(f"good/model may be read without a token; {size:.1f} GB will be downloaded")
    _, lines, _ = apart(tmp_path, CSM_MODEL="good/model", HF_TOKEN="hf_x", **given)
    assert "with a token" in lines["model"]
    fetch = [sys.executable, "-m", "csm", "prepare", "--model", "good/model", "--precision", "float32"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    here = {"PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "hf"), **given}
    assert subprocess.run(fetch, cwd=tmp_path, env=clean | here, capture_output=True).returncode == 0
    _, lines, _ = apart(tmp_path, CSM_MODEL="good/model", **given)
    assert lines["model"].startswith("ok ") and lines["model"].endswith("good/model is in the cache")
    _, lines, _ = apart(tmp_path, CSM_MODEL="good/model", HF_HUB_OFFLINE="1", **given)
    assert lines["model"].startswith("ok ") and "without the Hub" in lines["model"]


def test_a_port_that_another_program_holds_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CSM_MODEL", "demo")
    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setenv("CSM_PORT", str(other.getsockname()[1]))
        Thread(target=lambda: other.accept()[0].close(), daemon=True).start()
        status, lines = examine(capsys)
    assert status == 1 and lines["port"][0] == "to do" and "set CSM_PORT" in lines["port"][1]


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"status": "healthy", "model": "demo"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_port_that_this_server_holds_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        Thread(target=server.handle_request, daemon=True).start()
        monkeypatch.setenv("CSM_PORT", str(server.server_port))
        found = Doctor()
        found.settings()
        assert found.port() == f"{server.server_port} is taken by a server with demo that is healthy"
