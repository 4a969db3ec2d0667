"""Compile Triton's kernels for GPUs, which needs none; run by `test_fused`."""

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from csm.model import fused

NUMBERS = ("past", "row_stride", "width", "logits_stride", "noise_stride", "codes")
KINDS = {"scale": "fp32", "noise": "*fp32", "rank": "*i64"} | dict.fromkeys(NUMBERS, "i32")


def main() -> None:
    """Compile every kernel for Turing in float16, and for Ampere and Hopper in bfloat16, with CSM-1B's sizes."""
    sizes = {
        fused._attend: {"QUERIES": 8, "KV_HEADS": 2, "DIM": 128, "POSITIONS": 64},
        fused._swiglu: {"BLOCK": 1024},
        fused._draw: {"BLOCK": 2048},
    }
    for capability, dtype in ((75, "fp16"), (80, "bf16"), (90, "bf16")):
        for kernel, constants in sizes.items():
            names = [name for name in kernel.arg_names if name not in constants]
            signature = {name: KINDS.get(name, f"*{dtype}") for name in names} | dict.fromkeys(constants, "constexpr")
            if kernel is fused._draw:
                signature["out"] = "*i64"
            compiled = triton.compile(
                ASTSource(fn=kernel, signature=signature, constexprs=constants),
                target=GPUTarget("cuda", capability, 32),
            )
            assert compiled.asm["cubin"]
    print("all kernels compile")


if __name__ == "__main__":
    main()
