"""Read a checkpoint of `transformers`: configuration, tokenizer and weights."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, CsmConfig, PreTrainedTokenizerBase

from csm.errors import ModelUnavailable
from csm.model import hub

if TYPE_CHECKING:
    from transformers import CsmForConditionalGeneration

log = logging.getLogger(__name__)

SPECIAL_TOKENS = ("<|begin_of_text|>", "<|end_of_text|>", "<|AUDIO|>", "<|audio_eos|>")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A folder with a CSM checkpoint, whose weights are not loaded yet.

    Attributes:
        folder: that contains the files.
        config: of the whole model, including the codec.
        tokenizer: with CSM's special tokens.
    """

    folder: Path
    config: CsmConfig
    tokenizer: PreTrainedTokenizerBase

    def load(self, dtype: torch.dtype, device: torch.device) -> "CsmForConditionalGeneration":
        """Load the model of `transformers`, ready for inference.

        Args:
            dtype: of all weights except the codec's, which are always in float32.
            device: to load to.

        Raises:
            ModelUnavailable: weights are missing, truncated or of another shape.
        """
        # This import takes 200 MB of memory, which a server with prepared weights does not need.
        from transformers import CsmForConditionalGeneration

        class WithExactCodec(CsmForConditionalGeneration):  # type: ignore[misc]
            # With rounded codebooks, audio gets other codes, and sums of codebook vectors overflow float16.
            _keep_in_fp32_modules_strict = frozenset({"codec_model"})

        try:
            model, info = WithExactCodec.from_pretrained(
                self.folder,
                config=self.config,
                dtype=dtype,
                use_safetensors=True,
                output_loading_info=True,
                local_files_only=True,
            )
        except (OSError, RuntimeError, ValueError, SafetensorError) as error:
            raise ModelUnavailable(
                f"the weights cannot be read ({type(error).__name__}): delete the folder and fetch it again"
            ) from error
        missing, unknown = sorted(info["missing_keys"]), sorted(info["unexpected_keys"])
        if any(name.startswith("backbone.") for name in unknown):
            raise ModelUnavailable(hub.ORIGINAL_LAYOUT)
        if missing:
            raise ModelUnavailable(f"the weights are incomplete: {len(missing)} tensors missing, such as {missing[0]}")
        if unknown:
            log.warning("%d tensors of the weights are not used, such as %s", len(unknown), unknown[0])
        return model.to(device).eval().requires_grad_(False)


def open_checkpoint(folder: Path) -> Checkpoint:
    """Open a checkpoint: read its configuration and tokenizer, but not its weights.

    Raises:
        ModelUnavailable: this is not a CSM, or files are missing or damaged.
    """
    config = _read("configuration", lambda: _config(folder))
    tokenizer = _read(
        "tokenizer", lambda: AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    )
    known = tokenizer.get_vocab()
    lacking = [token for token in SPECIAL_TOKENS if token not in known]
    if lacking:
        raise ModelUnavailable(f"the tokenizer lacks {', '.join(lacking)}")
    return Checkpoint(folder, config, tokenizer)


def _config(folder: Path) -> CsmConfig:
    """Read the configuration; for another model's, `transformers` would only log a warning."""
    given, _ = CsmConfig.get_config_dict(folder, local_files_only=True)
    hub.refuse_original_layout(given)
    if given.get("model_type") != CsmConfig.model_type:
        raise ModelUnavailable("this is a checkpoint of another model than CSM: correct CSM_MODEL")
    with _no_warnings_about_text_ids():
        return CsmConfig.from_dict(given)


@contextmanager
def _no_warnings_about_text_ids() -> Iterator[None]:
    """Silence `CsmConfig`, which compares the ids of special text tokens with the number of audio codes."""
    logger = logging.getLogger(CsmConfig.__module__)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _read(what: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except ModelUnavailable:
        raise
    except Exception as error:
        # The tokenizers library raises bare Exceptions.
        raise ModelUnavailable(
            f"the checkpoint's {what} cannot be read ({type(error).__name__}): is it a CSM for transformers? "
            "If so, delete the folder and fetch it again"
        ) from error
