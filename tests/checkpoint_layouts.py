"""One tiny model in the layouts of the repositories that people load, file for file, and in the one we save ourselves.

The facts are those of `sesame/csm-1b` at c92a71e1, written by transformers 4.52, and of its copy `unsloth/csm-1b`. The
text vocabulary and the special ids are csm-1b's own, because both decide what `transformers` warns of.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import (
    CsmForConditionalGeneration,
    CsmProcessor,
    EncodecFeatureExtractor,
    MimiModel,
    PreTrainedTokenizerFast,
)

from recipes.demo_model.export import forget_cached_codebooks
from recipes.demo_model.tokenizer import BYTES, CHAT_TEMPLATE
from tests import tiny_checkpoints

TEXT_VOCABULARY = 128_256
IDS = {"<|begin_of_text|>": 128_000, "<|end_of_text|>": 128_001, "<|AUDIO|>": 128_002, "<|audio_eos|>": 128_003}

SHARDS = ("transformers-00001-of-00002.safetensors", "transformers-00002-of-00002.safetensors")
INDEX = "transformers.safetensors.index.json"
NEEDED = frozenset(
    {"config.json", "generation_config.json", "preprocessor_config.json", "chat_template.jinja", INDEX, *SHARDS}
    | {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
)
"""What a server needs of sesame's repository: 7.15 GB of 19.6."""

PROMPTS = tuple(f"prompts/{name}.wav" for name in ("conversational_a", "conversational_b"))
PROMPTS += tuple(f"prompts/read_speech_{letter}.wav" for letter in "abcd")
DECOYS = frozenset({"model.safetensors", "ckpt.pt", "README.md", ".gitattributes", *PROMPTS})

BACKBONE_AUDIO = "backbone_model.embed_tokens.embed_audio_tokens.weight"
DEPTH_AUDIO = "depth_decoder.model.embed_tokens.weight"


def today(folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """As we save it: today's names of all fields, one file, `processor_config.json`."""
    model = tiny_checkpoints.make()
    _give_real_ids(model)
    _count_codes(model.codec_model)
    model.to(dtype).save_pretrained(folder)
    _processor().save_pretrained(folder)
    return folder


def sesame(folder: Path, source: Path) -> Path:
    """As `sesame/csm-1b`: float32 in two shards, both audio embeddings, and as many files again that are not needed.

    Args:
        folder: to write to.
        source: made by `today`.
    """
    tensors = load_file(source / "model.safetensors")
    tensors[BACKBONE_AUDIO] = tensors[DEPTH_AUDIO].clone()
    folder.mkdir(parents=True, exist_ok=True)
    _write_shards(folder, tensors)
    _write_small_files(folder, source, "float32", {"transformers_weights": INDEX})
    _write_decoys(folder, tensors)
    return folder


def unsloth(folder: Path, source: Path) -> Path:
    """As `unsloth/csm-1b`: bfloat16 in one file, the audio embedding stored once, no `transformers_weights`.

    Args:
        folder: to write to.
        source: made by `today` in bfloat16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file(load_file(source / "model.safetensors"), folder / "model.safetensors", {"format": "pt"})
    _write_small_files(folder, source, "bfloat16", {})
    return folder


def torchtune(folder: Path) -> Path:
    """As repositories in the layout of Sesame's own code: other names of tensors, and no configuration of a model."""
    folder.mkdir(parents=True, exist_ok=True)
    original = {"audio_num_codebooks": 4, "audio_vocab_size": 67, "backbone_flavor": "llama-1B"}
    (folder / "config.json").write_text(json.dumps(original | {"decoder_flavor": "llama-100M"}))
    save_file(_torchtune_tensors(), folder / "model.safetensors")
    return folder


Others = Callable[[str], Path]
"""The folder of another layout, by its name."""

LAYOUTS: dict[str, Callable[[Path, Others], Path]] = {
    "today": lambda folder, _: today(folder),
    "today-bfloat16": lambda folder, _: today(folder, torch.bfloat16),
    "sesame": lambda folder, others: sesame(folder, others("today")),
    "unsloth": lambda folder, others: unsloth(folder, others("today-bfloat16")),
    "torchtune": lambda folder, _: torchtune(folder),
}


def _give_real_ids(model: CsmForConditionalGeneration) -> None:
    config = model.config
    config.text_vocab_size, config.bos_token_id, config.pad_token_id = TEXT_VOCABULARY, 128_000, 128_002
    config.audio_token_id, config.audio_eos_token_id = 128_002, 128_003
    model.generation_config.bos_token_id, model.generation_config.pad_token_id = 128_000, 128_002
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(TEXT_VOCABULARY, config.hidden_size, generator=generator)
    model.embed_text_tokens = nn.Embedding.from_pretrained(rows)


def _count_codes(codec: MimiModel) -> None:
    """Make the codebooks sums over many sounds, as training leaves them: beyond what float16 can hold."""
    generator = torch.Generator().manual_seed(2)
    for module in codec.modules():
        if hasattr(module, "embed_sum"):
            module.cluster_usage.copy_(torch.randint(10**5, 10**6, module.cluster_usage.shape, generator=generator))
            module.embed_sum *= module.cluster_usage[:, None]
    forget_cached_codebooks(codec)


def _processor() -> CsmProcessor:
    """Bytes, then as many unused tokens as bring the special ones to csm-1b's ids."""
    vocabulary = {byte: index for index, byte in enumerate(BYTES)}
    vocabulary |= {f"<unused {index}>": index for index in range(len(BYTES), min(IDS.values()))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in IDS])
    backend.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A <|end_of_text|>",
        special_tokens=[(token, IDS[token]) for token in ("<|begin_of_text|>", "<|end_of_text|>")],
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|begin_of_text|>",
        eos_token="<|end_of_text|>",
        pad_token="<|end_of_text|>",
    )
    return CsmProcessor(EncodecFeatureExtractor(sampling_rate=24_000), tokenizer, chat_template=CHAT_TEMPLATE)


def _write_shards(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Write two shards: the text embedding and half of the rest; the other half, which holds a tied table."""
    names = sorted(tensors)
    first = {"embed_text_tokens.weight", *names[: len(names) // 2]}
    where = {name: SHARDS[name not in first] for name in names}
    for shard in SHARDS:
        save_file({name: tensors[name] for name in names if where[name] == shard}, folder / shard, {"format": "pt"})
    size = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": where}
    (folder / INDEX).write_text(json.dumps(index, indent=2))


def _write_small_files(folder: Path, source: Path, dtype: str, more: dict[str, Any]) -> None:
    config = json.loads((source / "config.json").read_text())
    _write_json(folder / "config.json", _old_configuration(config, dtype) | more)
    sampling = {"do_sample": True, "temperature": 0.9}
    depth = {"depth_decoder_top_k": 50, **{f"depth_decoder_{name}": value for name, value in sampling.items()}}
    ids = {name: config[name] for name in ("bos_token_id", "pad_token_id")}
    old = {"max_new_tokens": 125, "transformers_version": "4.52.0.dev0"}
    _write_json(folder / "generation_config.json", ids | depth | sampling | old)
    extractor: dict[str, Any] = {
        "chunk_length_s": None,
        "feature_extractor_type": "EncodecFeatureExtractor",
        "feature_size": 1,
    }
    extractor |= {"overlap": None, "padding_side": "right", "padding_value": 0.0, "processor_class": "CsmProcessor"}
    extractor |= {"return_attention_mask": True, "sampling_rate": 24_000}
    _write_json(folder / "preprocessor_config.json", extractor)
    _write_tokenizer(folder, source)


def _write_tokenizer(folder: Path, source: Path) -> None:
    for name in ("tokenizer.json", "chat_template.jinja"):
        (folder / name).write_bytes((source / name).read_bytes())
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    named = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>", "pad_token": "<|end_of_text|>"}
    _write_json(folder / "special_tokens_map.json", {kind: {"content": token} | plain for kind, token in named.items()})
    added = {str(index): {"content": token, "special": True} | plain for token, index in IDS.items()}
    kind: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "processor_class": "CsmProcessor",
        "extra_special_tokens": {},
    }
    kind |= {"clean_up_tokenization_spaces": True, "model_input_names": ["input_ids", "attention_mask"]}
    tokenizer = {"added_tokens_decoder": added, "model_max_length": 131_072} | named | kind
    _write_json(folder / "tokenizer_config.json", tokenizer)


def _old_configuration(now: dict[str, Any], dtype: str) -> dict[str, Any]:
    """`config.json` as transformers 4.52 wrote it: no ids that are not set, flat rotary settings, `torch_dtype`."""
    parts = {"depth_decoder_config": now["depth_decoder_config"], "codec_config": now["codec_config"]}
    depth, codec = ({k: v for k, v in part.items() if v is not None} for part in parts.values())
    codec |= {"_name_or_path": "kyutai/mimi", "architectures": ["MimiModel"], "torch_dtype": "float32"}
    codec |= {"frame_rate": 12.5, "normalize": False, "rope_theta": codec.pop("rope_parameters")["rope_theta"]}
    for name in ("_frame_rate", "tie_word_embeddings", "use_streaming"):
        codec.pop(name, None)
    whole = {name: value for name, value in now.items() if value is not None and name != "dtype"}
    for stack in (whole, depth):
        rope = stack.pop("rope_parameters")
        stack |= {"rope_theta": int(rope.pop("rope_theta")), "rope_scaling": rope}
    whole |= {"depth_decoder_config": depth, "codec_config": codec}
    whole |= {"tie_word_embeddings": False, "torch_dtype": dtype, "transformers_version": "4.52.0.dev0"}
    whole |= {"audio_num_codebooks": whole["num_codebooks"], "audio_vocab_size": whole["vocab_size"]}
    return whole | {"backbone_flavor": "llama-1B", "decoder_flavor": "llama-100M"}


def _write_decoys(folder: Path, tensors: dict[str, Tensor]) -> None:
    save_file(_torchtune_tensors(), folder / "model.safetensors")
    torch.save(tensors, folder / "ckpt.pt")
    (folder / "prompts").mkdir(exist_ok=True)
    for name in PROMPTS:
        (folder / name).write_bytes(b"RIFF")
    (folder / "README.md").write_text("# A model card\n")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")


def _torchtune_tensors() -> dict[str, Tensor]:
    names = ("backbone.layers.0.attn.q_proj.weight", "decoder.norm.scale", "text_embeddings.weight", "audio_head")
    return {name: torch.zeros(2, 2) for name in names}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
