"""From latents to the decoder's input, for a codec whose first codes are phonemes and whose other codes change slowly.

The decoder must get the words from the first code, which follows from the text. So in training, it gets the true one,
and the other codes are made unfit to carry words: the encoder is charged for changing them from frame to frame, some
clips get their average, and some of the codes are dropped or disturbed, as a language model will disturb them.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import MimiModel

from recipes.demo_model import pairs, phonemes
from recipes.demo_model.quantiser import look_up
from recipes.demo_model.recordings import Samples

TOLD = 0.9
"""Share of the clips of which the decoder gets the true phonemes; the others have those that the encoder recognises."""

WINDOWS = (5, 1000, 1000, 1000, 1000, 1000, 1000, 1000)
"""Numbers of frames over which acoustic latents are averaged; most clips have the same ones in every frame."""

SAID_WINDOW = 1000
"""The number of frames over which the acoustic codes that a model should say are averaged."""

DISTURBED = 0.4
"""Share of the clips with noise on the acoustic latents, of up to their own size."""

DROPPED = 0.5
"""Share of the clips of which only the first few acoustic codes are used."""


@dataclass(frozen=True)
class Heard:
    """The result for a batch.

    Attributes:
        vectors: `[batch, width, frames]`: the input of the decoder.
        first: loss: cross-entropy of the phonemes as the encoder recognises them, in nats.
        slow: loss: mean squared change of the acoustic latents from a frame to the next, relative to their variance.
        commitment: loss: mean squared distance of the acoustic latents from their codes.
    """

    vectors: Tensor
    first: Tensor
    slow: Tensor
    commitment: Tensor


def hear(codec: MimiModel, latents: Tensor, true: Tensor, disturb: bool) -> Heard:
    """Quantise the encoder's output.

    Args:
        codec: in training mode, its acoustic codebooks are updated.
        latents: `[batch, width, frames]`.
        true: `[batch, frames]`: the first codes from `pairs.codes_of`.
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
    acoustic, slow, commitment = _acoustic(codec, latents, disturb)
    said = stack.output_proj(vectors[codes].transpose(1, 2))
    return Heard(said + acoustic, total / known.sum().clamp(min=1), slow, commitment)


def recognise(codec: MimiModel, latents: Tensor) -> Tensor:
    """Return the logits `[batch, frames, codes]` of the first codes: the nearer a vector, the likelier its pair."""
    stack = codec.quantizer.semantic_residual_vector_quantizer
    vectors = stack.layers[0].codebook.embed_sum
    seen = stack.input_proj(latents).transpose(1, 2).float()
    return (2 * seen @ vectors.T - vectors.square().sum(1)) / vectors.shape[1] ** 0.5


def _acoustic(codec: MimiModel, latents: Tensor, disturb: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return the part of the acoustic codes in the decoder's input, and the losses `slow` and `commitment`."""
    stack, training, count = codec.quantizer.acoustic_residual_vector_quantizer, codec.training, len(latents)
    wanted = stack.input_proj(latents).transpose(1, 2).float()
    slow = (wanted[:, 1:] - wanted[:, :-1]).square().mean() / wanted.var((0, 1)).mean().clamp(min=1e-6)
    levels = torch.full((count,), len(stack.layers), device=latents.device)
    noise = torch.zeros(count, 1, 1, device=latents.device)
    if disturb:
        windows = WINDOWS if training else (SAID_WINDOW,)
        which = torch.randint(len(windows), (count,), device=latents.device)
        wanted = torch.stack([averaged(wanted, window) for window in windows])[which, torch.arange(count)]
        few = torch.randint(1, len(stack.layers) + 1, (count,), device=latents.device)
        levels = torch.where(_some(count, DROPPED, codec), few, levels)
        noise = torch.rand_like(noise) * _some(count, DISTURBED, codec)[:, None, None]
    residual, total, commitment = wanted, torch.zeros_like(wanted), wanted.new_zeros(())
    for level, layer in enumerate(stack.layers):
        chosen = look_up(layer.codebook, residual.detach(), training)
        heard = chosen
        if disturb:
            rough = residual.detach()
            rough = rough + torch.randn_like(rough) * rough.square().mean().sqrt() * noise
            heard = look_up(layer.codebook, rough, training=False)
        commitment = commitment + F.mse_loss(residual, chosen)
        total = total + heard * (levels > level)[:, None, None]
        residual = residual - chosen
    straight_through = wanted + (total - wanted).detach()
    return stack.output_proj(straight_through.transpose(1, 2)), slow, commitment / len(stack.layers)


@torch.inference_mode()
def encode(codec: MimiModel, sound: Samples, line: phonemes.Labels, speed: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return what a model should say for a sound, and what it will hear of it in a reference; equal for other codecs.

    Args:
        codec: any codec. If its first codes are phonemes, what to say has the true ones, if they are known, and
            averaged acoustic codes.
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
    stack = codec.quantizer.acoustic_residual_vector_quantizer
    residual = averaged(stack.input_proj(latents).transpose(1, 2), SAID_WINDOW)
    codes = []
    for layer in stack.layers:
        codes.append(layer.codebook.quantize(residual))
        residual = residual - layer.codebook.decode(codes[-1])
    first = heard[:, :1]
    if len(line):
        labels = torch.from_numpy(phonemes.labels(line, pairs.AHEAD * speed, speed, len(heard)))
        first = pairs.codes_of(labels, codec.config.codebook_size)[:, None].to(heard)
    return torch.cat([first, *(code[0, :, None] for code in codes)], 1), heard


def averaged(values: Tensor, window: int) -> Tensor:
    """Return `[batch, frames, width]`: each value is the mean over its window; the last window may be shorter."""
    frames = values.shape[1]
    place = torch.arange(frames, device=values.device) // min(window, frames)
    same = (place[:, None] == place).to(values)
    return (same / same.sum(1, keepdim=True)) @ values


def _some(count: int, share: float, codec: MimiModel) -> Tensor:
    return torch.rand(count, device=codec.device) < share
