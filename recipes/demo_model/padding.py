"""Mimi's convolutions, with padding computed from Python integers.

`transformers` computes it with tensors. On a GPU, each of about fifty convolutions then waits for the device; on a CPU,
this arithmetic takes a twentieth of a training step.
"""

from torch import Tensor
from torch.nn import functional as F
from transformers import MimiModel
from transformers.models.mimi.modeling_mimi import MimiConv1d


class PlainConv1d(MimiConv1d):
    """A causal convolution that pads as `MimiConv1d` does."""

    def forward(self, hidden_states: Tensor, padding_cache: None = None) -> Tensor:
        """Convolve `[batch, channels, samples]`; the output has one sample per stride, rounded up.

        Raises:
            NotImplementedError: a padding cache is given, which only streaming needs.
        """
        if padding_cache is not None:
            raise NotImplementedError("streaming needs the convolutions of transformers")
        stride = self.conv.stride[0]
        left = (self.conv.kernel_size[0] - 1) * self.conv.dilation[0] + 1 - stride
        right = -hidden_states.shape[-1] % stride
        return self.conv(F.pad(hidden_states, (left, right), self.pad_mode))


def pad_plainly(codec: MimiModel) -> MimiModel:
    """Replace the padding of all convolutions of a causal codec in place; weights and their names do not change."""
    for module in codec.modules():
        if type(module) is MimiConv1d:
            module.__class__ = PlainConv1d
    return codec
