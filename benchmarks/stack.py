"""The matrix products of one step of the depth decoder, and several ways to run them on a CPU.

At batch size 1, most of the time of a step is spent reading the weights of its matrix products. So this stack has only
those products, with random weights in CSM-1B's sizes, norms, SwiGLU and residuals, but no attention.
"""

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import openvino as ov
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from csm.engine.openvino import export
from csm.engine.openvino.bundle import device_properties

GROUP = export.INT4_GROUP
Call = Callable[[np.ndarray], np.ndarray]
"""Takes an input `[1, 1, dim]` and returns the logits of all steps, `[1, steps, vocab]`."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the depth decoder; the defaults are CSM-1B's."""

    layers: int = 4
    dim: int = 1024
    qkv: int = 1536
    hidden: int = 8192
    vocab: int = 2112


class Layer(nn.Module):
    """The four products of a block; the query is used in place of the result of attention."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.qkv, self.out = linear(sizes.dim, sizes.qkv), linear(sizes.dim, sizes.dim)
        self.gate_up, self.down = linear(sizes.dim, 2 * sizes.hidden), linear(sizes.hidden, sizes.dim)

    def forward(self, x: Tensor) -> Tensor:
        """Run one block; input and result are `[1, 1, dim]`."""
        x = x + self.out(self.qkv(norm(x))[..., : x.shape[-1]])
        gate, up = self.gate_up(norm(x)).chunk(2, dim=-1)
        result: Tensor = x + self.down(F.silu(gate) * up)
        return result


class Stack(nn.Module):
    """Layers and a head; the output of the layers is the input of the next step."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.steps, self.shape = 1, (1, 1, sizes.dim)
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes.layers))
        self.head = linear(sizes.dim, sizes.vocab)
        self.weights = sum(p.numel() for p in self.parameters())

    def forward(self, x: Tensor) -> Tensor:
        """Run all steps on an input `[1, 1, dim]`; return logits `[1, steps, vocab]`."""
        logits = []
        for _ in range(self.steps):
            for layer in self.layers:
                x = layer(x)
            x = norm(x)
            logits.append(self.head(x))
        return torch.cat(logits, dim=1)


def linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a linear layer with random weights that preserve the scale of their input."""
    product = nn.Linear(inputs, outputs, bias=False).requires_grad_(False)
    product.weight.normal_(0, inputs**-0.5)
    return product


def norm(x: Tensor) -> Tensor:
    """Apply RMSNorm with all scales 1."""
    return x * torch.rsqrt(x.pow(2).mean(dim=-1, keepdim=True) + 1e-5)


def grouped(weight: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor]:
    """Quantise symmetrically; return signed codes `[outputs, inputs]` and scales `[outputs, inputs / group]`."""
    blocks = weight.view(len(weight), -1, group)
    scales = blocks.abs().amax(dim=-1, keepdim=True) / (2 ** (bits - 1) - 1)
    return (blocks / scales).round().view_as(weight), scales[..., 0]


class Int8Linear(nn.Module):
    """PyTorch's product of int8 weights with float activations."""

    def __init__(self, source: nn.Linear) -> None:
        super().__init__()
        codes, scales = grouped(source.weight, 8, source.in_features)
        self.weight, self.scales = codes.to(torch.int8), scales[:, 0].contiguous()

    def forward(self, x: Tensor) -> Tensor:
        """Compute the product, as `nn.Linear.forward` does."""
        result: Tensor = torch.ops.aten._weight_int8pack_mm(x[0], self.weight, self.scales)[None]
        return result


class Int4Linear(nn.Module):
    """PyTorch's product of int4 weights in groups with float activations."""

    def __init__(self, source: nn.Linear) -> None:
        super().__init__()
        codes, scales = grouped(source.weight, 4, GROUP)
        self.weight = torch.ops.aten._convert_weight_to_int4pack_for_cpu((codes + 8).int(), 1)
        self.scales = torch.stack([scales.T, torch.zeros_like(scales.T)], dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the product, as `nn.Linear.forward` does."""
        result: Tensor = torch.ops.aten._weight_int4pack_mm_for_cpu(x[0], self.weight, GROUP, self.scales)[None]
        return result


def eager(stack: Stack, dtype: torch.dtype = torch.float32) -> Call:
    """Return a call that runs the stack in eager PyTorch."""
    module = stack.to(dtype)

    @torch.inference_mode()
    def call(x: np.ndarray) -> np.ndarray:
        logits: np.ndarray = module(torch.from_numpy(x).to(dtype)).float().numpy()
        return logits

    return call


def swapped(stack: Stack, product: Callable[[nn.Linear], nn.Module]) -> Call:
    """Return a call that runs the stack in PyTorch with every linear layer replaced."""
    for parent in list(stack.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear):
                setattr(parent, name, product(child))
    return eager(stack)


def dynamic_int8(stack: Stack, library: str) -> Call:
    """Return a call that runs the stack with PyTorch's dynamic quantisation."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = library
    try:
        with warnings.catch_warnings():
            # The whole module is deprecated.
            warnings.simplefilter("ignore")
            tools: Any = torch.ao.quantization
            return eager(tools.quantize_dynamic(stack, {nn.Linear: tools.per_channel_dynamic_qconfig}))
    finally:
        torch.backends.quantized.engine = before


def openvino(stack: Stack, precision: str, activations: int = 0) -> Call:
    """Return a call that runs the stack in OpenVINO, as the server does.

    Activations are quantised to int8 in groups of size `activations` that share a scale; 0 keeps them float.
    """
    graph = export.quantise(export.trace(stack, [torch.zeros(stack.shape)], [[]]), precision)
    properties = device_properties(precision) | {"DYNAMIC_QUANTIZATION_GROUP_SIZE": activations}
    request = ov.Core().compile_model(graph, "CPU", properties).create_infer_request()
    return lambda x: request.infer([x])[0]


def onnxruntime(stack: Stack, quantise: Callable[[Any], Any]) -> Call:
    """Return a call that runs the stack in ONNX Runtime, on as many threads as torch."""
    runtime = import_module("onnxruntime")
    with warnings.catch_warnings():
        # The exporter uses deprecated functions of its own library.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(stack, (torch.zeros(stack.shape),), input_names=["x"], dynamo=True, verbose=False)
    if program is None:
        raise RuntimeError("the exporter gave no program")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    model = quantise(program.model_proto).SerializeToString()
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def onnx_float(model: Any) -> Any:
    """Return the model unchanged."""
    return model


def onnx_int8(model: Any) -> Any:
    """Quantise weights to int8 per output, and activations dynamically.

    Weights have 7 bits, so that sums cannot overflow on processors without VNNI.
    """
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        import_module("onnxruntime.quantization").quantize_dynamic(
            model, file.name, per_channel=True, reduce_range=True
        )
        return import_module("onnx").load(file.name)


def onnx_blocks(model: Any, bits: int, level: int) -> Any:
    """Quantise weights to `bits` in groups; `level` 1 keeps activations in float32, 4 quantises them to int8."""
    tools = import_module("onnxruntime.quantization.matmul_nbits_quantizer")
    tools.logger.setLevel("WARNING")
    quantiser = tools.MatMulNBitsQuantizer(model, bits=bits, block_size=GROUP, is_symmetric=True, accuracy_level=level)
    quantiser.process()
    return quantiser.model.model


def onnxruntime_blocks(stack: Stack, bits: int, level: int) -> Call:
    """Return a call that runs the stack in ONNX Runtime after `onnx_blocks`."""
    return onnxruntime(stack, lambda model: onnx_blocks(model, bits, level))
