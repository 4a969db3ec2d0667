"""The `transformers` engine: `CsmForConditionalGeneration.generate`, unmodified, one generation at a time.

It is slow (see docs/performance.md) but right by definition: the `csm` engine is tested against it. It also serves as a
fallback, with `CSM_ENGINE=transformers`.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from csm.engine.api import EngineInfo, Sampling
from csm.engine.codec_worker import CodecStream, decode
from csm.engine.devices import Placement, configure_cuda, describe_failure
from csm.engine.prefix_cache import ConversationPrefix
from csm.engine.request import Generation
from csm.errors import Cancelled, GenerationFailed, InvalidRequest
from csm.model.checkpoint import Checkpoint
from csm.model.conversation import Conversation, Turn, input_ids
from csm.model.mimi.decoder import MimiDecoder
from csm.model.mimi.encoder import MimiEncoder


class _EndFrame(Exception):
    """The model ended its turn."""


class TransformersEngine:
    """One worker thread, so that requests are served in order.

    Args:
        checkpoint: to load.
        placement: device and precision.
        patience: longest wait of a client for the next chunk, in seconds.
    """

    def __init__(self, checkpoint: Checkpoint, placement: Placement, patience: float = 120.0) -> None:
        if placement.device.type == "cuda":
            configure_cuda()
        self._config, self._tokenizer = checkpoint.config, checkpoint.tokenizer
        self._model = checkpoint.load(placement.dtype, placement.device)
        codec = self._model.codec_model
        self._encoder, self._decoder = MimiEncoder.from_model(codec), MimiDecoder(codec)
        self._patience, self._running = patience, 0
        self._failure: str | None = None
        self._closed = False
        self._worker = ThreadPoolExecutor(1, "reference-engine")
        rates = codec.config.sampling_rate, codec.config.frame_rate
        notices = () if placement.notice is None else (placement.notice,)
        self.info = EngineInfo(
            "transformers",
            str(placement.device),
            placement.precision,
            1,
            *rates,
            notices,
            self._encoder.fingerprint(),
        )

    @property
    def running(self) -> int:
        """Return 0 or 1."""
        return self._running

    def generate(
        self,
        conversation: Conversation,
        sampling: Sampling,
        max_frames: int,
        is_disconnected: Callable[[], bool],
        *,
        has_deadline: bool = True,
        cache: ConversationPrefix | None = None,
    ) -> Generation:
        """See `Engine.generate`. Reads the whole prompt each time: the cache is not used."""
        if self._room(conversation) < (max_frames if conversation.said else 1):
            raise InvalidRequest(
                "text and reference audio together are longer than the model's context: shorten either"
            )
        cancelled = lambda: self._closed or is_disconnected()  # noqa: E731
        patience = self._patience if has_deadline else None
        generation = Generation(conversation, sampling, max_frames, cancelled, patience)
        self._worker.submit(self._run, generation)
        return generation

    def encode(self, turn: Turn, is_disconnected: Callable[[], bool]) -> NDArray[np.int64]:
        """See `Engine.encode`. Nothing is cached."""
        if turn.audio is None:
            raise ValueError("only a turn that was heard can be encoded")
        try:
            with torch.inference_mode():
                samples = torch.from_numpy(turn.audio.samples).to(self._model.device)
                codes: NDArray[np.int64] = self._encoder(samples).cpu().numpy()
                return codes
        except Exception as error:
            fatal, client_error = describe_failure(error)
            self._failure = fatal or self._failure
            raise client_error from error

    def forget(self, fingerprint: bytes) -> None:
        """See `Engine.forget`. Nothing is cached."""

    def failure(self) -> str | None:
        """See `Engine.failure`."""
        return self._failure

    def stats(self) -> None:
        """Return None: there is no scheduler, and `generate` does not say when what happens."""

    def close(self) -> None:
        """See `Engine.close`."""
        self._closed = True
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _run(self, generation: Generation) -> None:
        self._running = 1
        try:
            if not generation.cancelled:
                self._generate(generation)
            generation.finish()
        except Exception as error:
            fatal, client_error = describe_failure(error)
            self._failure = fatal or self._failure
            generation.finish(client_error)
        finally:
            self._running = 0

    @torch.inference_mode()
    def _generate(self, generation: Generation) -> None:
        ids, audio = self._prompt(generation.conversation)
        stream = _FrameStream(generation, self._decoder, self._config.codebook_eos_token_id)
        torch.manual_seed(generation.sampling.seed)
        with suppress(_EndFrame):
            self._model.generate(
                input_ids=ids,
                **audio,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=min(generation.max_frames, self._room(generation.conversation)),
                streamer=stream,
                output_audio=False,
                **self._sampling(generation.sampling),
            )
            # `generate` returns only at its limit.
            generation.is_cut = True
        stream.flush()

    def _sampling(self, sampling: Sampling) -> dict[str, object]:
        """Return arguments of `generate`: all of the depth decoder's each time, because `transformers` keeps them."""
        unknown = list(range(self._config.codec_config.codebook_size, self._config.vocab_size))
        one: dict[str, object] = {"do_sample": False, "temperature": None, "top_k": None, "suppress_tokens": unknown}
        if sampling.temperature > 0:
            one |= {"do_sample": True, "temperature": float(sampling.temperature), "top_k": sampling.top_k}
        return one | {f"depth_decoder_{name}": value for name, value in one.items()}

    def _room(self, conversation: Conversation) -> int:
        """Return how many frames fit into the context behind the prompt."""
        return int(self._config.max_position_embeddings) - len(self._ids(conversation))

    def _ids(self, conversation: Conversation) -> list[int]:
        samples = round(self.info.sample_rate / self.info.frame_rate)
        frames = [-(-len(turn.audio.samples) // samples) for turn in conversation.turns if turn.audio is not None]
        config = self._config
        return input_ids(conversation.turns, frames, self._tokenizer, config.audio_token_id, config.audio_eos_token_id)

    def _prompt(self, conversation: Conversation) -> tuple[Tensor, dict[str, Tensor]]:
        """Return `input_ids` and the audio arguments, as `CsmProcessor` would make them."""
        heard = [turn.audio.samples for turn in conversation.turns if turn.audio is not None]
        device = self._model.device
        waves = [torch.from_numpy(samples).to(device) for samples in heard]
        prompt = torch.tensor([self._ids(conversation)], device=device)
        if not waves:
            return prompt, {}
        cutoffs = torch.tensor([len(wave) for wave in waves], device=device).cumsum(0)[None]
        return prompt, {"input_values": torch.cat(waves)[None, None], "input_values_cutoffs": cutoffs}


class _FrameStream:
    """Streamer that `generate` calls with each frame; raises to end the generation."""

    def __init__(self, generation: Generation, decoder: MimiDecoder, end_code: int) -> None:
        self._generation, self._decoder, self._end = generation, decoder, end_code
        self._stream, self._prompt_seen = CodecStream(decoder), False

    def put(self, frames: Tensor) -> None:
        if not self._prompt_seen:
            # `generate` passes the prompt first.
            self._prompt_seen = True
            return
        if self._generation.cancelled:
            raise Cancelled("the client disconnected")
        frame = frames[0]
        # `transformers` stops on all but the last code; such a frame is no audio either.
        if bool((frame[:-1] == self._end).all()):
            raise _EndFrame
        self._decode(self._stream.push(frame))

    def end(self) -> None:
        """Do nothing: `flush` is called behind `generate`."""

    def flush(self) -> None:
        self._decode(self._stream.flush())

    def _decode(self, codes: Tensor | None) -> None:
        if codes is None:
            return
        (chunk,) = decode(self._decoder, [self._stream], codes[None])
        if isinstance(chunk, GenerationFailed):
            raise chunk
        self._generation.put(chunk)
