"""A checkpoint as `transformers` saves it: configuration, tokenizer and weights."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, CsmConfig, CsmForConditionalGeneration, PreTrainedTokenizerBase

from csm.errors import ModelUnavailable

SPECIAL_TOKENS = ("<|begin_of_text|>", "<|end_of_text|>", "<|AUDIO|>", "<|audio_eos|>")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A folder with a CSM in it, opened but not yet in memory.

    Attributes:
        folder: where the files are.
        config: of the whole model, codec included.
        tokenizer: with CSM's special tokens.
    """

    folder: Path
    config: CsmConfig
    tokenizer: PreTrainedTokenizerBase

    def load(self, dtype: torch.dtype, device: torch.device) -> CsmForConditionalGeneration:
        """The reference model, ready for inference.

        Raises:
            ModelUnavailable: weights are missing, truncated or of another shape.
        """
        try:
            model, info = CsmForConditionalGeneration.from_pretrained(
                self.folder, dtype=dtype, use_safetensors=True, output_loading_info=True, local_files_only=True
            )
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise ModelUnavailable(
                f"the weights cannot be read ({type(error).__name__}): delete the folder and fetch it again"
            ) from error
        missing = sorted(info["missing_keys"])
        if missing:
            raise ModelUnavailable(f"the weights are incomplete: {len(missing)} tensors missing, such as {missing[0]}")
        return model.to(device).eval().requires_grad_(False)


def open_checkpoint(folder: Path) -> Checkpoint:
    """Read what is small: configuration and tokenizer.

    Raises:
        ModelUnavailable: this is no CSM, or files are missing or damaged.
    """
    try:
        config = CsmConfig.from_pretrained(folder, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable(f"this is no CSM checkpoint ({type(error).__name__}: {error})") from error
    lacking = [token for token in SPECIAL_TOKENS if tokenizer.convert_tokens_to_ids(token) in (None, tokenizer.unk_token_id)]
    if lacking:
        raise ModelUnavailable(f"the tokenizer lacks {', '.join(lacking)}")
    return Checkpoint(folder, config, tokenizer)
