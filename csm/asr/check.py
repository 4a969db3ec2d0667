"""Check at the start whether the configured recogniser is available."""

import importlib.util
from pathlib import Path

from csm.errors import ModelUnavailable

NONE = "none"
PACKAGE = "faster_whisper"
INSTALL = "pip install 'csm-server[asr]'"
FILES = ("model.bin", "config.json", "tokenizer.json")


def check(model: str) -> None:
    """Check, without loading anything, that the package is installed and that a local model is complete.

    Args:
        model: value of the setting `transcriber`.

    Raises:
        ModelUnavailable: the package or a file is missing; the message names the remedy.
    """
    if model == NONE:
        return
    if importlib.util.find_spec(PACKAGE) is None:
        raise ModelUnavailable(
            f"CSM_TRANSCRIBER={model} needs the package faster-whisper: {INSTALL}, or set CSM_TRANSCRIBER=none"
        )
    folder = Path(model).expanduser()
    if folder.is_dir():
        if missing := [name for name in FILES if not (folder / name).is_file()]:
            raise ModelUnavailable(
                f"CSM_TRANSCRIBER: the folder {model} has no {', '.join(missing)}: give one with a Whisper model "
                "converted for CTranslate2"
            )
    elif model.startswith(("/", "./", "../", "~")):
        raise ModelUnavailable(f"CSM_TRANSCRIBER: there is no folder {model}: correct the path, or name a model")
