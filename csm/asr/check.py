"""Whether the recogniser that the settings name can be there, told before the first request needs it."""

import importlib.util
from pathlib import Path

from csm.errors import ModelUnavailable

NONE = "none"
PACKAGE = "faster_whisper"
INSTALL = "pip install 'csm-server[asr]'"
FILES = ("model.bin", "config.json", "tokenizer.json")


def check(model: str) -> None:
    """Find out what can be found out at once: whether the package is there, and the folder if it is one.

    Args:
        model: as the setting `transcriber` has it.

    Raises:
        ModelUnavailable: it is not; the message names the remedy.
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
