"""Make the bundle that the OpenVINO runtime serves from, in a process of its own.

    python -m csm.engine.openvino.prepare CHECKPOINT PRECISION FOLDER LOG_LEVEL

This takes several times the memory of the server, and only the end of a process is certain to return all of it. If
memory runs out, the kernel kills this process, and the server is still there to say so.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import openvino as ov
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

import csm
from csm import log
from csm.engine.openvino import export
from csm.errors import ModelUnavailable
from csm.model.backbone import Backbone, Embeddings
from csm.model.checkpoint import Checkpoint, open_checkpoint
from csm.model.depth_decoder import DepthDecoder
from csm.model.mimi.decoder import MimiDecoder
from csm.model.mimi.encoder import MimiEncoder

# Not `__name__`: that is `__main__` where this is run.
logger = logging.getLogger("csm.engine.openvino.prepare")

FORMAT = 4
"""Version of the bundle; increase it when what is written here changes."""

DONE, ENCODER, EMBEDDINGS = "complete.json", "encoder.safetensors", "embeddings.safetensors"


def prepare(checkpoint: Checkpoint, precision: str, folder: Path) -> None:
    """Write a bundle beside `folder`, then rename it: an interrupted run never leaves half a bundle.

    Raises:
        ModelUnavailable: the weights cannot be read, or the disk is full.
    """
    partial = folder.with_suffix(".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _write_all(checkpoint, precision, partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or "a file cannot be written"
        raise ModelUnavailable(
            f"the prepared model cannot be kept ({reason}): set CSM_CACHE_DIR to a folder with room"
        ) from error


def prepare_in_subprocess(
    checkpoint: Checkpoint, precision: str, folder: Path, log_level: str, log_format: str
) -> None:
    """Run `prepare` in a process that ends when this one does.

    Raises:
        ModelUnavailable: as `prepare`, or the process was killed.
    """
    logger.info("preparing the model in %s: once per checkpoint, a few minutes", precision)
    arguments = [str(checkpoint.folder.absolute()), precision, str(folder), log_level, log_format]
    command = [sys.executable, "-m", __name__, *arguments]
    here = str(Path(csm.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))}
    # The child reads its standard input, which closes however this process ends.
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        reason = process.stdout.read()
        returncode = process.wait()
    if returncode:
        raise ModelUnavailable(reason or _unspoken(returncode))


def main() -> int:
    """Prepare; print an error on standard output, where the server reads it."""
    checkpoint, precision, folder, log_level, log_format = sys.argv[1:]
    threading.Thread(target=_end_with_the_server, daemon=True).start()
    # Libraries that print progress write to the log instead.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    log.configure(log_level, log_format)
    try:
        prepare(open_checkpoint(Path(checkpoint)), precision, Path(folder))
    except ModelUnavailable as error:
        print(error, end="", file=answer, flush=True)
        return 1
    return 0


def _unspoken(returncode: int) -> str:
    if returncode == -signal.SIGKILL:
        return "preparing the model was killed, most likely for lack of memory: CSM-1B needs 11 GB once"
    return "preparing the model failed; the reason is in the server's log"


def _end_with_the_server() -> None:
    sys.stdin.read()
    os._exit(1)


def _write_all(checkpoint: Checkpoint, precision: str, folder: Path) -> None:
    """Write all files one after the other, so that each graph's weights are freed before the next."""
    model = checkpoint.load(torch.float32, torch.device("cpu"))
    save_file(MimiEncoder.from_model(model.codec_model).state_dict(), folder / ENCODER)
    _save_tables(model, checkpoint.config.dtype or torch.float32, folder / EMBEDDINGS)
    _write("sound", lambda: export.decoder_graph(MimiDecoder(model.codec_model)), "float32", folder)
    _write("depth", lambda: export.depth_graph(DepthDecoder(model)), precision, folder)
    _write("backbone", lambda: export.backbone_graph(Backbone(model)), precision, folder)
    (folder / DONE).write_text(json.dumps({"format": FORMAT, "precision": precision}))


def _write(name: str, graph: Callable[[], ov.Model], precision: str, folder: Path) -> None:
    started = monotonic()
    ov.save_model(export.quantise(graph(), precision), folder / f"{name}.xml", compress_to_fp16=False)
    logger.info("%s is ready after %.0f s", name, monotonic() - started)


def _save_tables(model: Any, dtype: torch.dtype, path: Path) -> None:
    """Write text and audio embeddings in the precision of the checkpoint, which loses nothing."""
    tables = Embeddings.from_model(model)
    save_file({"text": tables.text.detach().to(dtype), "audio": tables.audio.detach().to(dtype)}, path)


if __name__ == "__main__":
    sys.exit(main())
