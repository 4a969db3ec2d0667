"""Codecs of other sizes: a new one, one of fewer codebooks, and one of more filters that begins as the old one was."""

import copy

import torch
from torch import Tensor, nn
from transformers import MimiModel

from recipes.demo_model.architecture import DEMO, CodecSize, codec_config


def new_codec(seed: int, size: CodecSize = DEMO.codec) -> MimiModel:
    """A small Mimi, with its stock initialisation tamed: as it is, it shouts and the encoder collapses."""
    torch.manual_seed(seed)
    codec = MimiModel(codec_config(size))
    with torch.no_grad():
        codec.decoder.decoder_seanet.layers[-1].conv.weight.mul_(0.03)
        codec.encoder.encoder_seanet.layers[-1].conv.weight.mul_(0.3)
    return codec


def with_codebooks(codec: MimiModel, count: int) -> MimiModel:
    """The same codec without its finest codebooks: what they add may not be heard, and the model has less to learn."""
    config = copy.deepcopy(codec.config)
    config.num_quantizers = count
    smaller = MimiModel(config)
    weights = codec.state_dict()
    smaller.load_state_dict({name: weights[name] for name in smaller.state_dict()})
    return smaller


@torch.no_grad()
def widened(codec: MimiModel, filters: int, seed: int = 0) -> MimiModel:
    """Return a codec of more filters that makes the same codes, and the same sound of them.

    New channels hear all of the old ones, through random weights. The old ones do not hear the new ones yet, for those
    weights begin at zero; their gradients do not.

    Raises:
        ValueError: there would be fewer filters than before.
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
    """Write a smaller weight into the corner of a larger one, and zeros where its outputs would hear new inputs."""
    if target.dim() == 3 and target.shape != source.shape:
        if inputs_first:
            target[:, : source.shape[1]] = 0
        else:
            target[: source.shape[0]] = 0
    target[tuple(slice(length) for length in source.shape)] = source
