"""From latents to the decoder's input, for a codec of which the first code has the words and the others have the voice.

A language model can predict such codes: phonemes follow from the text, and a voice stays the same. So in training, the
decoder gets the true phonemes, and a voice that is the mean of another utterance by the speaker. It is disturbed, as a
language model will disturb it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import MimiModel

from recipes.demo_model import pairs, phonemes
from recipes.demo_model.quantiser import look_up
from recipes.demo_model.recordings import Samples

TOLD = 0.9
"""Share of the clips of which the decoder gets the true phonemes; the others have those that the encoder recognises."""

DISTURBED = 0.4
"""Share of the clips with noise on the voice, of up to its own size."""

VOICES = "voices.json"
"""File of `settle` with the code of each speaker by name."""

DROPPED = 0.5
"""Share of the clips of which only the first few codes of the voice are used."""


@dataclass(frozen=True)
class Heard:
    """The result for a batch.

    Attributes:
        vectors: `[batch, width, frames]`: the input of the decoder.
        first: loss: cross-entropy of the phonemes as the encoder recognises them, in nats.
        slow: loss: mean squared change of the voice from a frame to the next, relative to its variance.
        commitment: loss: mean squared distance of the voice from its codes.
    """

    vectors: Tensor
    first: Tensor
    slow: Tensor
    commitment: Tensor


def hear(codec: MimiModel, latents: Tensor, voice: Tensor, true: Tensor, disturb: bool) -> Heard:
    """Quantise the encoder's output.

    Args:
        codec: in training mode, its acoustic codebooks are updated.
        latents: `[batch, width, frames]`: of what is said.
        voice: the same of any utterances by the same speakers.
        true: `[batch, frames]`: the first codes from `pairs.first_codes`.
        disturb: whether the decoder gets the codes with changes. Otherwise, all frames have all codes, and their true
            phonemes if these are known.
    """
    stack = codec.quantizer.semantic_residual_vector_quantizer
    vectors = stack.layers[0].codebook.embed_sum
    logits = recognise(codec, latents)
    guessed = logits.argmax(-1)
    known = true != phonemes.UNKNOWN
    total = F.cross_entropy(logits.flatten(0, 1), true.flatten(), ignore_index=phonemes.UNKNOWN, reduction="sum")
    codes = torch.where(known & _some(len(true), TOLD, codec)[:, None] if disturb else known, true, guessed)
    changing = codec.quantizer.acoustic_residual_vector_quantizer.input_proj(voice).transpose(1, 2).float()
    slow = (changing[:, 1:] - changing[:, :-1]).square().mean() / changing.var((0, 1)).mean().clamp(min=1e-6)
    acoustic, commitment = _voice(codec, changing.mean(1, keepdim=True), disturb)
    said = stack.output_proj(vectors[codes].transpose(1, 2))
    return Heard(said + acoustic, total / known.sum().clamp(min=1), slow, commitment)


def say(codec: MimiModel, codes: Tensor, voice: Tensor, disturb: bool) -> Tensor:
    """Return the input of the decoder, `[batch, width, frames]`, for phonemes and a voice.

    Args:
        codec: in training mode, its acoustic codebooks are updated.
        codes: `[batch, frames]`: first codes.
        voice: `[batch, 1, code width]`, from `mean_voice`.
        disturb: see `hear`.
    """
    stack = codec.quantizer.semantic_residual_vector_quantizer
    vectors = stack.layers[0].codebook.embed_sum
    return stack.output_proj(vectors[codes].transpose(1, 2)) + _voice(codec, voice, disturb)[0]


def mean_voice(codec: MimiModel, latents: Tensor) -> Tensor:
    """Return the voice, `[batch, 1, code width]`, of which the acoustic codes are made, of `[batch, width, frames]`."""
    mean: Tensor = codec.quantizer.acoustic_residual_vector_quantizer.input_proj(latents).mean(2)[:, None].float()
    return mean


def recognise(codec: MimiModel, latents: Tensor) -> Tensor:
    """Return the logits `[batch, frames, codes]` of the first codes: the nearer a vector, the likelier its pair."""
    stack = codec.quantizer.semantic_residual_vector_quantizer
    vectors = stack.layers[0].codebook.embed_sum
    seen = stack.input_proj(latents).transpose(1, 2).float()
    return (2 * seen @ vectors.T - vectors.square().sum(1)) / vectors.shape[1] ** 0.5


def _voice(codec: MimiModel, mean: Tensor, disturb: bool) -> tuple[Tensor, Tensor]:
    """Return the part of the acoustic codes in the decoder's input, and the loss `commitment`."""
    stack, count = codec.quantizer.acoustic_residual_vector_quantizer, len(mean)
    levels = torch.full((count,), len(stack.layers), device=mean.device)
    noise = torch.zeros(count, 1, 1, device=mean.device)
    if disturb:
        few = torch.randint(1, len(stack.layers) + 1, (count,), device=mean.device)
        levels = torch.where(_some(count, DROPPED, codec), few, levels)
        noise = torch.rand_like(noise) * _some(count, DISTURBED, codec)[:, None, None]
    residual, total, commitment = mean, torch.zeros_like(mean), mean.new_zeros(())
    for level, layer in enumerate(stack.layers):
        chosen = look_up(layer.codebook, residual.detach(), codec.training)
        rough = residual.detach() + torch.randn_like(residual) * residual.detach().square().mean().sqrt() * noise
        total = total + look_up(layer.codebook, rough, training=False) * (levels > level)[:, None, None]
        commitment = commitment + F.mse_loss(residual, chosen)
        residual = residual - chosen
    straight_through = mean + (total - mean).detach()
    return stack.output_proj(straight_through.transpose(1, 2)), commitment / len(stack.layers)


def of_pitch(codec: MimiModel, voices: Tensor, pitches: Tensor) -> Tensor:
    """Return the voices, each moved to the nearest first code of those that have its pitch.

    A code stands for several voices, and the decoder can give it only one pitch: the median of their pitches. Where the
    decoder is to learn another one, it would learn an average of both, which is a whisper.

    Args:
        codec: whose codes are final.
        voices: `[utterances, 1, code width]`, from `mean_voice`.
        pitches: `[utterances]`: of their monotones, in Hz.
    """
    codebook = codec.quantizer.acoustic_residual_vector_quantizer.layers[0].codebook
    codes = codebook.embed_sum / codebook.cluster_usage.clamp(min=codebook.epsilon)[:, None]
    distances = torch.cdist(voices[:, 0], codes)
    nearest = distances.argmin(1)
    pitch_of = torch.full((len(codes),), torch.nan, device=codes.device)
    for code in nearest.unique():
        pitch_of[code] = pitches[nearest == code].median()
    fits = pitch_of == pitches[:, None]
    fits |= ~fits.any(1, keepdim=True)  # a pitch that no code has
    chosen = distances.masked_fill(~fits, torch.inf).argmin(1)
    return voices + (codes[chosen] - codes[nearest])[:, None]


def read_voices(path: Path, speakers: Iterable[str]) -> dict[str, int]:
    """Return the codes of speakers from the file that `settle` writes.

    Raises:
        ValueError: a speaker has no code.
    """
    codes: dict[str, int] = json.loads(path.read_text())
    lacking = set(speakers) - set(codes)
    if lacking:
        raise ValueError(f"{min(lacking)} has no code in {path.name}: settle with this speech and all of its speeds")
    return codes


def voice_codes(codec: MimiModel, voices: Tensor) -> Tensor:
    """Return the acoustic codes, `[utterances, codebooks - 1]`, of voices from `mean_voice`."""
    stack = codec.quantizer.acoustic_residual_vector_quantizer
    residual, codes = voices[:, 0], []
    for layer in stack.layers:
        codes.append(layer.codebook.quantize(residual))
        residual = residual - layer.codebook.decode(codes[-1])
    return torch.stack(codes, 1)


@torch.inference_mode()
def encode(codec: MimiModel, sound: Samples, line: phonemes.Labels, speed: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return what a model should say for a sound, and what it will hear of it in a reference; equal for other codecs.

    Args:
        codec: any codec. If its first codes are phonemes, what to say has the true ones, if they are known, and the
            same voice in all frames.
        sound: an utterance.
        line: its timeline, from `phonemes.timeline`.
        speed: at which it is played.

    Returns:
        Codes to say and to hear, both `[frames, codebooks]`.
    """
    samples = torch.from_numpy(sound)[None, None].to(codec.device)
    latents = codec.encoder(samples).latents
    heard: Tensor = codec.quantizer.encode(latents)[:, 0].T
    if not pairs.installed(codec):
        return heard, heard
    first = heard[:, :1]
    if len(line):
        first = pairs.first_codes(line, len(heard), codec.config.codebook_size, speed)[:, None].to(heard)
    return torch.cat([first, voice_codes(codec, mean_voice(codec, latents)).expand(len(heard), -1)], 1), heard


def _some(count: int, share: float, codec: MimiModel) -> Tensor:
    return torch.rand(count, device=codec.device) < share
