"""What the OpenVINO runtime serves from: graphs with quantised weights and tables, made once per checkpoint.

Making it takes minutes and, for a moment, the memory of the float32 model; opening it again takes seconds. All of it
is mapped from disk, so that of what is not rearranged for this processor only the rows in use take memory.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino as ov
import torch
from transformers import CsmConfig

from csm.engine.mapped import MappedFile
from csm.engine.prepare import DONE, EMBEDDINGS, ENCODER, FORMAT, prepare_apart
from csm.errors import ModelUnavailable
from csm.model.checkpoint import Checkpoint
from csm.model.encoder import MimiEncoder
from csm.model.frame import Embeddings
from csm.settings import Settings

ACTIVATION_GROUPS = {"int8": 128, "int4": 32}
"""Activations that share a scale when they are quantised on the way into a product; measured, docs/performance.md."""


@dataclass(frozen=True, eq=False)
class Bundle:
    """Everything that the runtime needs.

    Attributes:
        config: of the checkpoint.
        backbone: compiled `export.BackboneStep`.
        depth: compiled `export.DepthFrame`.
        embeddings: of text and frames.
        sound: compiled `export.SoundStep`.
        encoder: Mimi's, for references.
        tables: that the embeddings lie in.
        weights: that all else lies in.
    """

    config: CsmConfig
    backbone: ov.CompiledModel
    depth: ov.CompiledModel
    embeddings: Embeddings
    sound: ov.CompiledModel
    encoder: MimiEncoder
    tables: MappedFile
    weights: tuple[MappedFile, ...]

    def let_go(self) -> None:
        """Drop from memory what can be read again: once a graph has run, it works on weights that it rearranged."""
        for file in (self.tables, *self.weights):
            file.let_go()


def open_bundle(settings: Settings, checkpoint: Checkpoint, precision: str) -> Bundle:
    """The bundle of a checkpoint, from the cache or made now.

    Raises:
        ModelUnavailable: the weights cannot be read, or there is no room for the bundle.
    """
    folder = folder_of(settings, checkpoint, precision)
    if not (folder / DONE).exists():
        prepare_apart(checkpoint, precision, folder, settings.log_level)
    try:
        return _read(checkpoint.config, folder, precision)
    except OSError as error:
        raise ModelUnavailable(f"the prepared model cannot be read ({error.strerror}): delete CSM_CACHE_DIR") from error


def folder_of(settings: Settings, checkpoint: Checkpoint, precision: str) -> Path:
    """Where the bundle of a checkpoint belongs."""
    return settings.cache_folder / _fingerprint(checkpoint, precision)


def device_properties(precision: str) -> dict[str, Any]:
    """How graphs are run: for latency, on the cores that torch may use, with floats in float32."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": ACTIVATION_GROUPS.get(precision, 0),
    }


def _read(config: CsmConfig, folder: Path, precision: str) -> Bundle:
    # Sound is heard: it stays in float32.
    precisions = {"backbone": precision, "depth": precision, "sound": "float32"}
    weights = {name: MappedFile(folder / f"{name}.bin") for name in precisions}
    graphs = {name: _compile(folder / f"{name}.xml", weights[name], what) for name, what in precisions.items()}
    tables, encoder_weights = (MappedFile(folder / name) for name in (EMBEDDINGS, ENCODER))
    table = tables.tensors()
    embeddings = Embeddings(table["text"], table["audio"], config.num_codebooks, torch.float32)
    encoder = MimiEncoder.from_weights(config.codec_config, encoder_weights.tensors())
    files = (*weights.values(), encoder_weights)
    return Bundle(config, embeddings=embeddings, encoder=encoder, tables=tables, weights=files, **graphs)


def _compile(path: Path, weights: MappedFile, precision: str) -> ov.CompiledModel:
    core = ov.Core()
    graph = core.read_model(path.read_bytes(), ov.Tensor(weights.bytes, shared_memory=True))
    return core.compile_model(graph, "CPU", device_properties(precision))


def _fingerprint(checkpoint: Checkpoint, precision: str) -> str:
    """Of all that the bundle depends on; weights by name, size and time, for hashing gigabytes takes too long."""
    parts: list[object] = [FORMAT, precision, ov.__version__]
    for path in sorted(checkpoint.folder.iterdir()):
        if path.suffix in (".safetensors", ".json"):
            status = path.stat()
            parts.append((path.name, status.st_size, status.st_mtime_ns))
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest() + f"-{precision}"
