"""The demo's tokenizer: one token per UTF-8 byte of the lower-cased text, and CSM's special tokens.

There is too little data for a small model to learn a large vocabulary; bytes can represent any text.
"""

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import CsmProcessor, EncodecFeatureExtractor, PreTrainedTokenizerFast

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
SPECIAL_TOKENS = {
    token: len(BYTES) + index
    for index, token in enumerate(("<|begin_of_text|>", "<|end_of_text|>", "<|AUDIO|>", "<|audio_eos|>", "<|pad|>"))
}
TEXT_VOCABULARY = len(BYTES) + len(SPECIAL_TOKENS)

# Equivalent to the template of csm-1b: a turn is its text, then its audio if it has any.
CHAT_TEMPLATE = """
{%- for message in messages -%}
{%- if not (message['role'] is string and message['role'].isdigit()) -%}
{{- raise_exception("The role must be a stringified integer that names the speaker, such as '0'.") -}}
{%- endif -%}
{%- set texts = message['content'] | selectattr('type', 'equalto', 'text') | list -%}
{%- set audios = message['content'] | selectattr('type', 'equalto', 'audio') | list -%}
{%- if texts | length != 1 or audios | length > 1 or (not loop.last and not audios) -%}
{{- raise_exception('A turn has one text and one audio; only the last may go without audio.') -}}
{%- endif -%}
{{- bos_token + '[' + message['role'] + ']' + texts[0]['text'] + '<|end_of_text|>' -}}
{%- if audios -%}
{{- '<|AUDIO|><|audio_eos|>' -}}
{%- endif -%}
{%- endfor -%}
"""


def make_processor() -> CsmProcessor:
    """Return a `CsmProcessor` at 24 kHz with the demo tokenizer."""
    extractor = EncodecFeatureExtractor(feature_size=1, sampling_rate=24_000)
    return CsmProcessor(extractor, make_tokenizer(), chat_template=CHAT_TEMPLATE)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer; with `add_special_tokens` it adds begin and end of text, as csm-1b's does."""
    backend = Tokenizer(models.BPE(vocab={byte: index for index, byte in enumerate(BYTES)}, merges=[]))
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(SPECIAL_TOKENS))
    backend.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A <|end_of_text|>",
        special_tokens=[(token, SPECIAL_TOKENS[token]) for token in ("<|begin_of_text|>", "<|end_of_text|>")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|begin_of_text|>",
        eos_token="<|end_of_text|>",
        pad_token="<|pad|>",
        padding_side="left",
    )
