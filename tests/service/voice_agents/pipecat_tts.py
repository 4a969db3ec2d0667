"""Run as a program in an environment with Pipecat: speak a text with its OpenAI service, write PCM to stdout.

Arguments: the base URL of the API and a text.
"""

import asyncio
import sys

from pipecat.frames.frames import ErrorFrame, TTSAudioRawFrame, TTSSpeakFrame
from pipecat.services.openai.tts import OpenAITTSService
from pipecat.tests.utils import run_test


async def main(url: str, text: str) -> None:
    """Send the text through a pipeline."""
    # Pipecat sends no other voices than OpenAI's.
    settings = OpenAITTSService.Settings(model="tts-1", voice="alloy")
    service = OpenAITTSService(api_key="secret", base_url=url, sample_rate=24_000, settings=settings)
    down, up = await run_test(service, frames_to_send=[TTSSpeakFrame(text)], start_timeout=60)
    errors = [frame.error for frame in (*down, *up) if isinstance(frame, ErrorFrame)]
    assert not errors, errors
    for frame in down:
        if isinstance(frame, TTSAudioRawFrame):
            sys.stdout.buffer.write(frame.audio)


asyncio.run(main(*sys.argv[1:]))
