"""The bundle that the OpenVINO runtime serves from: graphs with quantised weights, and tables.

It is made once for a checkpoint, which takes minutes and the memory of the float32 model, and opened in seconds. All
files are memory-mapped: of what OpenVINO does not repack for this processor, only the rows in use take memory.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino as ov
import torch
from torch import Tensor
from transformers import CsmConfig, MimiConfig

from csm.engine.openvino.mapped import MappedFile
from csm.engine.openvino.prepare import DONE, EMBEDDINGS, ENCODER, FORMAT, prepare_in_subprocess
from csm.errors import ModelUnavailable
from csm.model.backbone import Embeddings
from csm.model.checkpoint import Checkpoint
from csm.model.mimi.encoder import MimiEncoder
from csm.settings import Settings

ACTIVATION_GROUPS = {"int8": 128, "int4": 32}
"""Activations that share a scale when they are quantised for a matrix product; measured in docs/performance.md."""

ROWS_AT_ONCE = 256
"""Rows read from a table before its pages are released: 16 MB at most."""


class MappedEmbeddings(Embeddings):
    """Embedding tables that stay in their file.

    The kernel reads ahead around each row, and a voice has thousands of rows: nearly the whole table would become
    resident if pages were not released in between.
    """

    def __init__(self, file: MappedFile, codebooks: int) -> None:
        tables = file.tensors()
        super().__init__(tables["text"], tables["audio"], codebooks, torch.float32)
        self._file = file

    def embed_text(self, ids: Tensor) -> Tensor:
        """Embed token ids `[positions]` as `[positions, dim]`."""
        return self._in_pieces(super().embed_text, ids, ROWS_AT_ONCE)

    def embed_frames(self, codes: Tensor) -> Tensor:
        """Embed codes `[frames, codebooks]` as `[frames, dim]`."""
        return self._in_pieces(super().embed_frames, codes, ROWS_AT_ONCE // codes.shape[-1])

    def _in_pieces(self, embed: Callable[[Tensor], Tensor], ids: Tensor, size: int) -> Tensor:
        pieces = []
        for piece in torch.split(ids, size):
            pieces.append(embed(piece))
            self._file.release_pages()
        return torch.cat(pieces)


@dataclass(frozen=True, eq=False)
class Bundle:
    """Everything that the runtime needs.

    Attributes:
        config: of the checkpoint.
        backbone: compiled `export.BackboneStep`.
        depth: compiled `export.DepthFrame`.
        embeddings: of text and frames.
        sound: compiled `export.DecoderStep`.
        encoder: of Mimi, for reference audio.
        weights: files that the graphs were read from.
    """

    config: CsmConfig
    backbone: ov.CompiledModel
    depth: ov.CompiledModel
    embeddings: Embeddings
    sound: ov.CompiledModel
    encoder: MimiEncoder
    weights: tuple[MappedFile, ...]

    def release_pages(self) -> None:
        """Release the mapped weights; once a graph has run, it works on its own repacked copy."""
        for file in self.weights:
            file.release_pages()


def open_bundle(settings: Settings, checkpoint: Checkpoint, precision: str) -> Bundle:
    """Open the bundle of a checkpoint; make it first if it is not in the cache.

    Raises:
        ModelUnavailable: the weights cannot be read, or the disk is full.
    """
    folder = prepared_folder(settings, checkpoint, precision)
    try:
        return _read(checkpoint.config, folder, precision)
    except OSError as error:
        raise ModelUnavailable(
            f"the prepared model cannot be read ({error.strerror}): delete CSM_CACHE_DIR, it is made anew"
        ) from error


def prepared_folder(settings: Settings, checkpoint: Checkpoint, precision: str) -> Path:
    """Return the folder of a checkpoint's bundle, after making the bundle where it is missing.

    Raises:
        ModelUnavailable: the weights cannot be read, or there is no room for the bundle.
    """
    folder = folder_of(settings, checkpoint, precision)
    if not (folder / DONE).exists():
        prepare_in_subprocess(checkpoint, precision, folder, settings.log_level, settings.log_format)
    return folder


def folder_of(settings: Settings, checkpoint: Checkpoint, precision: str) -> Path:
    """Return the folder of a checkpoint's bundle, which need not exist."""
    return settings.cache_folder / _fingerprint(checkpoint, precision)


def device_properties(precision: str) -> dict[str, Any]:
    """Return OpenVINO's options: low latency, the cores that torch may use, float32 where nothing is quantised."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": ACTIVATION_GROUPS.get(precision, 0),
    }


def _read(config: CsmConfig, folder: Path, precision: str) -> Bundle:
    # The codec stays in float32: quantisation there is audible.
    precisions = {"backbone": precision, "depth": precision, "sound": "float32"}
    weights = {name: MappedFile(folder / f"{name}.bin") for name in precisions}
    graphs = {name: _compile(folder / f"{name}.xml", weights[name], what) for name, what in precisions.items()}
    embeddings = MappedEmbeddings(MappedFile(folder / EMBEDDINGS), config.num_codebooks)
    encoder = _encoder(config.codec_config, MappedFile(folder / ENCODER))
    return Bundle(config, embeddings=embeddings, encoder=encoder, weights=tuple(weights.values()), **graphs)


def _encoder(config: MimiConfig, weights: MappedFile) -> MimiEncoder:
    """Make an encoder whose parts release their weights after use: they are 0.2 GB, and a voice is encoded once."""
    encoder = MimiEncoder.from_weights(config, weights.tensors())
    for part in (encoder.convolutions, *encoder.transformer.layers, encoder.semantic, encoder.acoustic):
        part.register_forward_hook(lambda *_: weights.release_pages())
    return encoder


def _compile(path: Path, weights: MappedFile, precision: str) -> ov.CompiledModel:
    core = ov.Core()
    graph = core.read_model(path.read_bytes(), ov.Tensor(weights.bytes, shared_memory=True))
    return core.compile_model(graph, "CPU", device_properties(precision))


def _fingerprint(checkpoint: Checkpoint, precision: str) -> str:
    """Hash what the bundle depends on; weights by name, size and time, because hashing gigabytes takes too long.

    The time is in whole seconds, because the layers of container images keep no fractions.
    """
    parts: list[object] = [FORMAT, precision, ov.__version__]
    for path in sorted(checkpoint.folder.iterdir()):
        if path.suffix in (".safetensors", ".json"):
            status = path.stat()
            parts.append((path.name, status.st_size, int(status.st_mtime)))
    return hashlib.blake2b(repr(parts).encode(), digest_size=12).hexdigest() + f"-{precision}"
