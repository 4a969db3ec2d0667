"""The model in plain PyTorch, in float precision: what runs on CPUs and Macs, and what a CUDA graph captures."""

import torch
from torch import Tensor, nn

from csm.engine.api import Sampling
from csm.engine.devices import Placement, to_host
from csm.engine.runtimes.base import BAD_CODE, DEFAULT_ROWS, RowState
from csm.model.backbone import Backbone, Embeddings, attention_bias, causal_mask
from csm.model.checkpoint import Checkpoint
from csm.model.depth_decoder import DepthDecoder
from csm.model.kv_cache import BatchKVCache, Prefix
from csm.model.mimi.decoder import MimiDecoder
from csm.model.mimi.encoder import MimiEncoder
from csm.model.sampling import gumbel_noise


def lay_out_by_columns(module: nn.Module) -> None:
    """Store the weights of all linear layers in column-major order.

    With a batch of a few rows, torch's CPU matrix product then reads memory a third faster.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            layer.weight = nn.Parameter(layer.weight.detach().T.contiguous().T, requires_grad=False)


class TorchRuntime:
    """Eager PyTorch in float precision; see `Runtime`.

    Args:
        checkpoint: to load.
        placement: device and precision.
        rows: size of the batch; None for what suits the device.
    """

    prefill_chunk, idle_prefill_chunk = 16, 64
    notice: str | None = None

    def __init__(self, checkpoint: Checkpoint, placement: Placement, rows: int | None) -> None:
        model = checkpoint.load(placement.dtype, placement.device)
        config = checkpoint.config
        codec = model.codec_model
        self.encoder, self.decoder = MimiEncoder.from_model(codec), MimiDecoder(codec)
        self.embeddings = Embeddings.from_model(model)
        self.depth, self.backbone = DepthDecoder(model), Backbone(model)
        if placement.device.type == "cpu":
            for part in (self.depth, self.backbone):
                lay_out_by_columns(part)
        self.positions, self.codebooks = config.max_position_embeddings, config.num_codebooks
        self.device = placement.device
        like, shape = self.embeddings.audio, (config.num_key_value_heads, config.head_dim)
        self.prefill_cache = BatchKVCache(config.num_hidden_layers, 1, self.positions, *shape, like)
        self.row_bytes = self.prefill_cache.store.nbytes
        self.rows = rows or self.default_rows()
        self.kv_cache = BatchKVCache(config.num_hidden_layers, self.rows, self.positions, *shape, like)
        self.state = RowState(self.rows, like, config.hidden_size)

    def default_rows(self) -> int:
        """Return how many streams the device can be expected to serve together."""
        return DEFAULT_ROWS

    @property
    def codec(self) -> str:
        """See `Runtime.codec`."""
        return self.encoder.fingerprint()

    @torch.inference_mode()
    def encode(self, samples: Tensor) -> Tensor:
        """See `Runtime.encode`."""
        codes: Tensor = self.encoder(samples.to(self.device))
        return codes

    def load_prefix(self, prefix: Prefix) -> None:
        """See `Runtime.load_prefix`."""
        self.prefill_cache.load(0, prefix)

    @torch.inference_mode()
    def prefill(self, x: Tensor, start: int) -> None:
        """See `Runtime.prefill`."""
        end = start + len(x)
        positions = torch.arange(start, end, device=self.device)[None]
        bias = attention_bias(causal_mask(positions, end), x.dtype)
        self.backbone(x[None], positions, bias, self.prefill_cache.view(1, positions, end))

    def save_prefix(self, length: int) -> Prefix:
        """See `Runtime.save_prefix`."""
        return self.prefill_cache.save(0, length)

    def join(self, row: int, length: int, x: Tensor, sampling: Sampling) -> None:
        """See `Runtime.join`."""
        # As padding of a captured batch, this row may have computed anything before.
        self.kv_cache.clear(row)
        self.kv_cache.load(row, self.prefill_cache.store[:, :, 0, :length])
        self.state.set(row, length, x, sampling)

    def move(self, source: int, target: int, length: int) -> None:
        """See `Runtime.move`."""
        self.kv_cache.move(source, target, length)
        self.state.move(source, target)

    def save_row(self, row: int, length: int) -> Prefix:
        """See `Runtime.save_row`."""
        return self.kv_cache.save(row, length)

    def step(self, rows: int, length: int, top_k: int) -> Tensor:
        """See `Runtime.step`."""
        # Always a copy: the next replay of a graph overwrites its codes.
        codes = to_host(self.frame(rows, length, top_k))
        for row in (codes[:, 0] == BAD_CODE).nonzero().flatten().tolist():
            self.kv_cache.clear(row)
        return codes

    @torch.inference_mode()
    def frame(self, rows: int, length: int, top_k: int) -> Tensor:
        """Make a frame without waiting for the device; see `step`.

        This is what a CUDA graph captures: the backbone over one position, a draw, the depth decoder with its draws,
        and the embedding of the new frame as the next input, all at fixed addresses.
        """
        state = self.state
        positions = state.position[:rows, None]
        cache = self.kv_cache.view(rows, positions, length)
        bias = attention_bias(causal_mask(positions, length), state.x.dtype)
        hidden = self.backbone(state.x[:rows, None], positions, bias, cache)[:, 0]
        noise = gumbel_noise(state.seed[:rows], state.frame[:rows], self.codebooks + 1, self.depth.codebook_size)
        codes = self.depth(hidden, noise, state.rules(rows, top_k), top_k)
        state.advance(rows, codes, self.embeddings.embed_frames(codes), self.positions - 1)
        # A draw from NaN logits is code 0, and a frame of zeros would pass for the end of the turn.
        checked: Tensor = codes.where(hidden.isfinite().all(dim=-1, keepdim=True), BAD_CODE)
        return checked
