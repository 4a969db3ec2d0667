"""Compare Triton's kernels with PyTorch's, in Triton's interpreter; run by `test_fused`."""

import torch

from csm.model.fused import FusedOperations
from csm.model.operations import PLAIN

FUSED = FusedOperations()


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the norm of the difference, relative to that of the first."""
    return float((one.float() - other.float()).norm() / one.float().norm())


def attention(dtype: torch.dtype, batch: int, queries: int, kv_heads: int, dim: int) -> float:
    """Return the largest difference in any position of two layers."""
    worst, like = 0.0, torch.zeros(batch, 1, dtype=dtype)
    caches = [operations.depth_cache(like, 2, 9, kv_heads, dim) for operations in (PLAIN, FUSED)]
    for step in range(8):
        time = 2 if step == 0 else 1
        for layer in range(2):
            heads = torch.randn(batch, time, queries + 2 * kv_heads, dim).to(dtype)
            rope = (torch.randn(time, 1, dim).to(dtype), torch.randn(time, 1, dim).to(dtype))
            results = [
                operations.attend(heads, kv_heads, rope, None, cache, layer)
                for operations, cache in zip((PLAIN, FUSED), caches, strict=True)
            ]
            worst = max(worst, apart(*results))
    return worst


def draws(dtype: torch.dtype) -> None:
    """Compare draws with every kind of top-k, with ties, and with codes that are excluded."""
    logits = torch.randn(5, 600).to(dtype)[:, :500]
    logits[2, :100], logits[3] = -torch.inf, logits[3].round()
    noise, rank = torch.randn(5, 3, 500), torch.tensor([[0], [1], [49], [10], [499]])
    for codebook in range(3):
        expected = PLAIN.draw(logits, noise[:, codebook], rank, 500)
        assert torch.equal(FUSED.draw(logits, noise[:, codebook], rank, 500), expected)


def main() -> None:
    """Check all kernels in both precisions."""
    torch.manual_seed(0)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 2e-2)):
        for shape in ((1, 8, 2, 16), (3, 4, 1, 32)):
            assert attention(dtype, *shape) < tolerance
        gate_up = torch.randn(3, 1, 2 * 1500).to(dtype)
        assert apart(PLAIN.swiglu(gate_up), FUSED.swiglu(gate_up)) < tolerance
        draws(dtype)
    print("all kernels agree")


if __name__ == "__main__":
    main()
