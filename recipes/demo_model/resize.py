"""Create codecs: a new one, one with fewer codebooks, and one with more filters but the same output."""

import copy

import torch
from torch import Tensor, nn
from transformers import MimiModel

from recipes.demo_model.architecture import DEMO, CodecSize, codec_config


def new_codec(seed: int, size: CodecSize = DEMO.codec) -> MimiModel:
    """Return a small Mimi with scaled initial weights; without that, it is too loud and the encoder collapses."""
    torch.manual_seed(seed)
    codec = MimiModel(codec_config(size))
    with torch.no_grad():
        codec.decoder.decoder_seanet.layers[-1].conv.weight.mul_(0.03)
        codec.encoder.encoder_seanet.layers[-1].conv.weight.mul_(0.3)
    return codec


def with_codebooks(codec: MimiModel, count: int) -> MimiModel:
    """Return a codec without its last codebooks, which may be inaudible, so that the model has less to learn."""
    config = copy.deepcopy(codec.config)
    config.num_quantizers = count
    smaller = MimiModel(config)
    weights = codec.state_dict()
    smaller.load_state_dict({name: weights[name] for name in smaller.state_dict()})
    return smaller


@torch.no_grad()
def widened(codec: MimiModel, filters: int, seed: int = 0) -> MimiModel:
    """Return a codec with more filters that gives the same codes and the same audio.

    New channels get input from all old ones, with random weights. Weights from new to old channels are zero at first,
    but their gradients are not.

    Raises:
        ValueError: `filters` is less than before.
    """
    if filters < codec.config.num_filters:
        raise ValueError(f"the codec has {codec.config.num_filters} filters already: it cannot be widened to {filters}")
    torch.manual_seed(seed)
    config = copy.deepcopy(codec.config)
    config.num_filters = filters
    wider = MimiModel(config)
    for (name, target), source in zip(wider.state_dict().items(), codec.state_dict().values(), strict=True):
        layer = wider.get_submodule(name.rpartition(".")[0])
        _embed(target, source, inputs_first=isinstance(layer, nn.ConvTranspose1d))
    return wider.eval()


def _embed(target: Tensor, source: Tensor, inputs_first: bool) -> None:
    """Copy a weight into the corner of a larger one, and set weights from new inputs to old outputs to zero."""
    if target.dim() == 3 and target.shape != source.shape:
        if inputs_first:
            target[:, : source.shape[1]] = 0
        else:
            target[: source.shape[0]] = 0
    target[tuple(slice(length) for length in source.shape)] = source


def deepened(codec: MimiModel, layers: int, seed: int = 0) -> MimiModel:
    """Return a codec with more layers in both transformers; the new ones at first change almost nothing."""
    torch.manual_seed(seed)
    config = copy.deepcopy(codec.config)
    config.num_hidden_layers = layers
    deeper = MimiModel(config)
    deeper.load_state_dict(codec.state_dict(), strict=False)
    return deeper.eval()
