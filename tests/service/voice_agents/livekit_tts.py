"""Run as a program in an environment with LiveKit: speak a text with its OpenAI plugin, write PCM to stdout.

Arguments: the base URL of the API, the name of the model, and a text. With `gpt-4o-mini-tts` LiveKit asks for events.
"""

import asyncio
import sys

from livekit.plugins import openai


async def main(url: str, model: str, text: str) -> None:
    """Synthesize the text."""
    tts = openai.TTS(base_url=url, api_key="secret", model=model, voice="alloy")
    async with tts.synthesize(text) as stream:
        frame = await stream.collect()
    assert frame.sample_rate == 24_000
    sys.stdout.buffer.write(bytes(frame.data))
    await tts.aclose()


asyncio.run(main(*sys.argv[1:]))
