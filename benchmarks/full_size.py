"""Create CSM at its exact size with random weights, on which speed does not depend, on disk or on a device."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoTokenizer, CsmConfig, CsmForConditionalGeneration

from csm.model.checkpoint import Checkpoint
from csm.model.hub import DEMO_FOLDER

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "processor_config.json", "chat_template.jinja")


@dataclass(frozen=True, eq=False)
class RandomCheckpoint(Checkpoint):
    """A checkpoint without files, whose weights are drawn on the device; they are the same each time on one device.

    Attributes:
        seed: of the weights.
    """

    seed: int = 0

    def load(self, dtype: torch.dtype, device: torch.device) -> CsmForConditionalGeneration:
        """See `Checkpoint.load`; takes seconds on a GPU, while reading 7 GB from a disk takes a minute."""
        return random_model(self.config, dtype, device, self.seed)


def random_checkpoint(config: CsmConfig) -> RandomCheckpoint:
    """Combine a configuration with the demo's tokenizer, whose special tokens the configuration must have."""
    return RandomCheckpoint(DEMO_FOLDER, config, AutoTokenizer.from_pretrained(DEMO_FOLDER, local_files_only=True))


def full_size_config() -> CsmConfig:
    """Return the configuration of `sesame/csm-1b`, with the ids of the demo tokenizer's special tokens."""
    demo = CsmConfig.from_pretrained(DEMO_FOLDER)
    scaling = {"rope_type": "llama3", "rope_theta": 500_000.0, "factor": 32.0}
    backbone = {"high_freq_factor": 0.5, "low_freq_factor": 0.125, "original_max_position_embeddings": 1024}
    depth = {"high_freq_factor": 0.0078125, "low_freq_factor": 0.001953125, "original_max_position_embeddings": 16}
    return CsmConfig(
        rope_parameters=scaling | backbone,
        depth_decoder_config={"rope_parameters": scaling | depth},
        bos_token_id=demo.bos_token_id,
        pad_token_id=demo.pad_token_id,
        audio_token_id=demo.audio_token_id,
        audio_eos_token_id=demo.audio_eos_token_id,
    )


def tiny_config() -> CsmConfig:
    """Return a configuration that a CPU runs many times faster than real time: eight codebooks, two layers each."""
    config = full_size_config().to_dict()
    stack = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    stack |= {"num_key_value_heads": 2, "head_dim": 16, "num_codebooks": 8, "vocab_size": 131}
    config |= stack | {"codebook_pad_token_id": 130, "text_vocab_size": 512}
    config["depth_decoder_config"] |= stack | {"backbone_hidden_size": 64, "max_position_embeddings": 9}
    config["depth_decoder_config"]["rope_parameters"]["original_max_position_embeddings"] = 4
    config["codec_config"] |= {
        "num_filters": 2,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "codebook_size": 128,
        "codebook_dim": 8,
        "vector_quantization_hidden_dimension": 8,
        "num_quantizers": 8,
        "upsample_groups": 16,
    }
    return CsmConfig.from_dict(config)


def random_model(
    config: CsmConfig, dtype: torch.dtype, device: torch.device, seed: int = 0
) -> CsmForConditionalGeneration:
    """Return a model with random weights, drawn on the device; those of the codec are float32."""
    torch.manual_seed(seed)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            model = CsmForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    model.codec_model.float()
    for name, buffer in model.codec_model.named_buffers():
        if name.endswith("embed_sum"):
            buffer.normal_()
    return model.eval().requires_grad_(False)


def make(folder: Path) -> Path:
    """Write the checkpoint in bfloat16 (3.3 GB, about a minute) unless it exists; return its folder."""
    if (folder / "config.json").exists():
        return folder
    model = random_model(full_size_config(), torch.bfloat16, torch.device("cpu")).to(torch.bfloat16)
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copy(DEMO_FOLDER / name, folder / name)
    # config.json is moved last, so that an interrupted run does not leave a folder that looks complete.
    model.save_pretrained(folder / "partial", max_shard_size="2GB")
    for path in sorted((folder / "partial").iterdir(), key=lambda p: p.name == "config.json"):
        path.rename(folder / path.name)
    (folder / "partial").rmdir()
    return folder
