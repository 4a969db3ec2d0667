"""Golden values of the tiny model in sesame's layout, made by `transformers` and git's rules, not by what is tested."""

import hashlib
import json
import shutil
import subprocess
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, CsmForConditionalGeneration

from tests import checkpoint_layouts
from tests.model import prompts

RATE = 24_000
TEXT, PROMPT = "The past is just a story.", "Hey how are you doing?"
RECORDING = "prompts/conversational_a.wav"


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second and a half of noise as a WAV file."""
    path = tmp_path_factory.mktemp("recording") / "noise.wav"
    write_wav(path, seed=0)
    return path


def write_wav(path: Path, seed: int) -> None:
    samples = 3000 * np.random.default_rng(seed).standard_normal(36_000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())


@pytest.fixture(scope="session")
def golden(layout: Callable[[str], Path], recording: Path) -> dict[str, Any]:
    """As `csm/assets/golden.json`, of the tiny model."""
    folder = layout("sesame")
    model: Any = CsmForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)

    def ids(text: str) -> torch.Tensor:
        said = [{"role": "0", "content": [{"type": "text", "text": text}]}]
        return processor.apply_chat_template(said, tokenize=True, return_dict=True)["input_ids"]

    with wave.open(str(recording)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
    encoded = model.codec_model.encode(torch.from_numpy(samples)[None, None]).audio_codes[0]
    return {
        "name": "the tiny model",
        "source": "transformers",
        "repository": "good/model",
        "revision": "0123456789abcdef0123456789abcdef01234567",
        "models": ["good/model"],
        "files": {name: git_hash(folder / name) for name in sorted(checkpoint_layouts.NEEDED)},
        "prompt": {"role": "0", "text": PROMPT, "ids": ids(PROMPT)[0].tolist()},
        "speech": {"role": "0", "text": TEXT, "frames": prompts.greedy(model, 8, input_ids=ids(TEXT)).tolist()},
        "encoder": {"audio": RECORDING, "frames": encoded.shape[1], "codebooks": encoded[:2, :8].tolist()},
    }


def git_hash(path: Path) -> str:
    """What git says of a file, or of the pointer that stands for it where it is large."""
    content = path.read_bytes()
    if len(content) > 1_000_000:
        digest = hashlib.sha256(content).hexdigest()
        content = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()
    command = ["git", "hash-object", "--no-filters", "--stdin"]
    return subprocess.run(command, input=content, capture_output=True, check=True).stdout.decode().strip()


@pytest.fixture
def folder(layout: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(layout("sesame"), tmp_path / "csm"))


@pytest.fixture
def golden_file(golden: dict[str, Any], tmp_path: Path) -> Callable[..., Path]:
    """Write golden values, some of them changed."""

    def write(**changed: Any) -> Path:
        path = tmp_path / "golden.json"
        path.write_text(json.dumps(golden | changed))
        return path

    return write
