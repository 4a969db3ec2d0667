"""What the OpenVINO runtime serves from: compiled graphs and tables, made once per checkpoint and machine.

Making it takes minutes and, for a moment, the memory of the float32 model; opening it again takes seconds. The
tables of embeddings are mapped from disk, so only the rows in use take memory.
"""

import ctypes
import hashlib
import json
import logging
import mmap
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import openvino as ov
import torch
from safetensors.torch import load_file, save_file
from transformers import CsmConfig, MimiModel

from csm.engine import export
from csm.errors import ModelUnavailable
from csm.model.checkpoint import Checkpoint
from csm.model.codec import MimiDecoder, State
from csm.model.frame import Backbone, DepthDecoder, Embeddings
from csm.settings import Settings

log = logging.getLogger(__name__)

FORMAT = 1
"""Raised when what is written here changes."""

DONE = "complete.json"


@dataclass(frozen=True, eq=False)
class Bundle:
    """Everything that the runtime needs.

    Attributes:
        config: of the checkpoint.
        backbone: compiled `export.BackboneStep`.
        depth: compiled `export.DepthFrame`.
        embeddings: of text and frames.
        sound: compiled `export.SoundStep`.
        codec: Mimi, for encoding references; its decoder is left out.
        silence: the state of one stream of sound that has not begun.
        files: the mapped blobs of the graphs.
    """

    config: CsmConfig
    backbone: ov.CompiledModel
    depth: ov.CompiledModel
    embeddings: Embeddings
    sound: ov.CompiledModel
    codec: MimiModel
    silence: State
    files: tuple[mmap.mmap, ...]

    def let_go(self) -> None:
        """Drop the blobs from memory once each graph has run: it then works on weights that it has rearranged.

        Should a graph look at its blob again, the kernel reads that part back from the file.
        """
        for file in self.files:
            if hasattr(mmap, "MADV_DONTNEED"):
                file.madvise(mmap.MADV_DONTNEED)


def open_bundle(settings: Settings, checkpoint: Checkpoint, precision: str) -> Bundle:
    """The bundle of a checkpoint, from the cache or made now.

    Raises:
        ModelUnavailable: the weights cannot be read, or there is no room for the bundle.
    """
    folder = settings.cache_folder / _fingerprint(checkpoint, precision)
    try:
        if not (folder / DONE).exists():
            _make(checkpoint, precision, folder)
        return _read(checkpoint.config, folder)
    except OSError as error:
        raise ModelUnavailable(
            f"the compiled model cannot be kept ({error.strerror}): set CSM_CACHE_DIR to a folder with room"
        ) from error


def device_properties() -> dict[str, Any]:
    """How the graphs are run: for latency, in float32 where weights are not quantised, on the cores torch may use."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }


def _read(config: CsmConfig, folder: Path) -> Bundle:
    core = ov.Core()
    files = tuple(_mapped(folder / f"{name}.blob") for name in ("backbone", "depth", "sound"))
    backbone, depth, sound = (_import(core, file) for file in files)
    tables = load_file(folder / "embeddings.safetensors")
    embeddings = Embeddings(tables["text"], tables["audio"], config.num_codebooks, torch.float32)
    codec = MimiModel.from_pretrained(folder / "codec", dtype=torch.float32).eval().requires_grad_(False)
    silence = MimiDecoder(codec).initial_state(1)
    codec.decoder = None
    return Bundle(config, backbone, depth, embeddings, sound, codec, silence, files)


def _mapped(path: Path) -> mmap.mmap:
    """A file as memory; writable in name only, because OpenVINO takes no other: nothing is ever written back.

    It stays mapped for as long as the process lives: the graphs behind OpenVINO's objects are freed at a time of their
    own, and read from the file until then.
    """
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(mapped))
    return mapped


def _import(core: ov.Core, file: mmap.mmap) -> ov.CompiledModel:
    blob = ov.Tensor(np.frombuffer(file, dtype=np.uint8), shared_memory=True)
    return core.import_model(blob, "CPU", device_properties())


def _make(checkpoint: Checkpoint, precision: str, folder: Path) -> None:
    """Write the bundle beside its place, then move it there: a half-made one is never taken for whole."""
    log.info("compiling the model for this CPU in %s: once per checkpoint, a few minutes", precision)
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model = checkpoint.load(torch.float32, torch.device("cpu"))
    model.codec_model.save_pretrained(partial / "codec")
    _save_tables(model, checkpoint.config.dtype or torch.float32, partial / "embeddings.safetensors")
    # Sound is heard: it stays in float32. One after the other, each letting go of its weights before the next.
    _compile("sound", lambda: export.sound_graph(MimiDecoder(model.codec_model)), "float32", partial)
    _compile("depth", lambda: export.depth_graph(DepthDecoder(model)), precision, partial)
    _compile("backbone", lambda: export.backbone_graph(Backbone(model)), precision, partial)
    (partial / DONE).write_text(json.dumps({"format": FORMAT, "precision": precision}))
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _compile(name: str, graph: Callable[[], ov.Model], precision: str, folder: Path) -> None:
    started = monotonic()
    compiled = ov.Core().compile_model(export.quantise(graph(), precision), "CPU", device_properties())
    (folder / f"{name}.blob").write_bytes(compiled.export_model().getvalue())
    log.info("%s compiled after %.0f s", name, monotonic() - started)


def _save_tables(model: Any, dtype: torch.dtype, path: Path) -> None:
    """Text and audio embeddings in the precision of the checkpoint's own files: nothing is lost."""
    tables = Embeddings.of(model)
    save_file({"text": tables.text.detach().to(dtype), "audio": tables.audio.detach().to(dtype)}, path)


def _fingerprint(checkpoint: Checkpoint, precision: str) -> str:
    """Of all that the bundle depends on; weights by name, size and time, for hashing gigabytes takes too long."""
    core = ov.Core()
    parts: list[object] = [FORMAT, precision, ov.__version__, torch.__version__]
    parts += [core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
    for path in sorted(checkpoint.folder.iterdir()):
        if path.suffix in (".safetensors", ".json"):
            status = path.stat()
            parts.append((path.name, status.st_size, status.st_mtime_ns))
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest() + f"-{precision}"
