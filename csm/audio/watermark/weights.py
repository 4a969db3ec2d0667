"""Finds Perth's weights in the installed package `resemble-perth`; does not import torch, nor the package.

The package's code is not used. It needs librosa and `pkg_resources` without saying so, takes seconds to import, and
marks only complete recordings.
"""

from importlib import metadata
from pathlib import Path

from csm.errors import ModelUnavailable

DISTRIBUTION = "resemble-perth"
"""On PyPI; the distribution `perth` there is something else."""

_FILE = "perth/perth_net/pretrained/implicit/perth_net_250000.pth.tar"
_REMEDY = f"`pip install {DISTRIBUTION}`, or set CSM_WATERMARK=off to send unmarked speech"


def weights_file() -> Path:
    """Return the file with the weights: a dictionary of tensors, written by `torch.save`.

    Raises:
        ModelUnavailable: the package is not installed; the message names the remedy.
    """
    try:
        file = Path(str(metadata.distribution(DISTRIBUTION).locate_file(_FILE)))
    except metadata.PackageNotFoundError:
        raise ModelUnavailable(f"The watermark needs the package {DISTRIBUTION}: {_REMEDY}.") from None
    if not file.is_file():
        raise ModelUnavailable(f"The installed {DISTRIBUTION} does not contain the watermark's weights: {_REMEDY}.")
    return file


def check(is_on: bool) -> None:
    """Check before anything slow starts that the watermark can be loaded, if it is on.

    Raises:
        ModelUnavailable: its weights are not installed.
    """
    if is_on:
        weights_file()
