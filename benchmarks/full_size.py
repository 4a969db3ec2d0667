"""A checkpoint of CSM-1B's exact size with random weights: speed does not depend on their values."""

import shutil
from pathlib import Path

import torch
from transformers import CsmConfig, CsmForConditionalGeneration

from csm.model.hub import DEMO_FOLDER

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "processor_config.json", "chat_template.jinja")


def full_size_config() -> CsmConfig:
    """The configuration of `sesame/csm-1b`; only the ids of special tokens are those of the demo's tokenizer."""
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


def make(folder: Path) -> Path:
    """Write the checkpoint in bfloat16 (3.3 GB, about a minute), unless it is there already; returns the folder."""
    if (folder / "config.json").exists():
        return folder
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        model = CsmForConditionalGeneration(full_size_config())
    finally:
        torch.set_default_dtype(before)
    for name, buffer in model.codec_model.named_buffers():
        if name.endswith("embed_sum"):
            buffer.normal_()
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        shutil.copy(DEMO_FOLDER / name, folder / name)
    # config.json is written last in effect: a folder that an interrupt left half-made is not taken for whole.
    model.save_pretrained(folder / "partial", max_shard_size="2GB")
    for path in sorted((folder / "partial").iterdir(), key=lambda p: p.name == "config.json"):
        path.rename(folder / path.name)
    (folder / "partial").rmdir()
    return folder
