"""Our networks against those of the package, which needs librosa."""

import json
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from csm.audio.watermark.detect import detect
from csm.audio.waveform import Waveform

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("librosa") is None, reason="requirements-quality.txt is not installed"),
]

# The package asks `pkg_resources`, which setuptools no longer has, for the path of its weights.
PROGRAM = """
import sys, types
from pathlib import Path
import numpy
pkg_resources = types.ModuleType("pkg_resources")
pkg_resources.resource_filename = lambda module, name: str(Path(sys.modules[module].__file__).parent / name)
sys.modules["pkg_resources"] = pkg_resources
from perth.perth_net.perth_net_implicit.perth_watermarker import PerthImplicitWatermarker
package = PerthImplicitWatermarker()
speech = numpy.load(sys.argv[1])
marked = package.apply_watermark(speech, 24_000)
numpy.save(sys.argv[2], marked)
mine = numpy.load(sys.argv[3])
confidences = [float(package.get_watermark(one, 24_000, round=False).mean()) for one in (speech, marked, mine)]
print(confidences)
"""


def test_marks_and_detections_are_those_of_the_package(perth, voice, tmp_path):
    ours = voice + perth.change(torch.from_numpy(voice)).numpy()
    np.save(tmp_path / "speech.npy", voice)
    np.save(tmp_path / "ours.npy", ours)
    files = [str(tmp_path / name) for name in ("speech.npy", "theirs.npy", "ours.npy")]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *files], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    theirs = np.load(tmp_path / "theirs.npy")
    length = min(len(ours), len(theirs))
    difference = np.square(ours[:length] - theirs[:length]).sum() / np.square(ours[:length] - voice[:length]).sum()
    # Most of it comes from the package's resampling to 32 kHz and back.
    assert 10 * np.log10(difference) < -20
    by_package = json.loads(done.stdout.splitlines()[-1])
    by_us = [detect(Waveform(np.ascontiguousarray(one), 24_000), perth) for one in (voice, theirs, ours)]
    assert by_us == pytest.approx(by_package, abs=0.02)
    assert by_us[0] < 0.1 and min(by_us[1:]) > 0.95
