"""`csm prepare`: download and quantise the model in advance, which would delay the first start by minutes."""

import argparse
import logging
import sys
from collections.abc import Sequence

from csm.errors import ModelUnavailable
from csm.settings import Settings, SettingsError, load

QUANTISED = ("int8", "int4")


def main(arguments: Sequence[str]) -> int:
    """Download and prepare the model; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="csm prepare",
        description="Download the model and, where it will run in int8 or int4, quantise it, so that the server starts "
        "at once: while an image is built, for example. What is there already is kept.",
    )
    parser.add_argument("--model", help="Hub repository, local folder or `demo`, in place of CSM_MODEL")
    parser.add_argument("--revision", help="branch, tag or commit, in place of CSM_REVISION")
    parser.add_argument(
        "--precision",
        choices=("auto", "float32", "bfloat16", "float16", *QUANTISED),
        help="in place of CSM_PRECISION; auto takes what suits this machine, so name it if another will run the server",
    )
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value}
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("csm").setLevel(logging.INFO)
    try:
        # No socket is opened, so the check that a public CSM_HOST needs keys does not apply.
        prepare(load(host="127.0.0.1", **given))
    except (SettingsError, ModelUnavailable) as error:
        print(f"csm prepare: {error}", file=sys.stderr)
        return 2 if isinstance(error, SettingsError) else 1
    return 0


def prepare(settings: Settings) -> None:
    """Download the model, quantise it if it will run quantised, and print where both are.

    Raises:
        ModelUnavailable: it cannot be fetched, read or written; the message names the remedy.
    """
    # Imports huggingface_hub and torch, which take seconds.
    from csm.model import hub

    folder = hub.fetch(settings)
    print(f"{settings.model} is in {folder}")
    precision: str = settings.precision
    if precision == "auto" and settings.device in ("auto", "cpu"):
        from csm.engine.devices import place

        precision = place(settings).precision
    if precision in QUANTISED:
        from csm.engine.openvino.bundle import prepared_folder
        from csm.model.checkpoint import open_checkpoint

        print(f"{precision} is in {prepared_folder(settings, open_checkpoint(folder), precision)}")
