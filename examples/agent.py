"""An agent's loop: what the user says is heard, what the agent answers is spoken, each with all before as context.

    python examples/agent.py question.webm "What the user says in it." "What the agent answers." …

Three arguments for each exchange: the user's recording, its words, and the answer. In a real agent, the words come from
speech recognition and the answer from a language model. The server keeps nothing between requests: `Conversation` holds
the turns and sends the latest ones along. Set `VOICE_SERVER_URL` and `VOICE_SERVER_KEY`; the answers are written to
`answer-1.flac`, `answer-2.flac`, …
"""

import base64
import json
import os
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_TURNS = 8
"""Turns that are sent along. A request may have 10 MB and 16 recordings, and all its turns together 180 s of audio."""


@dataclass
class Conversation:
    """A conversation of a user and an agent.

    Attributes:
        url: of the server.
        key: for the server.
        voice: name of the agent's stored voice; or reference audio, as in the README.
        turns: so far, as the server takes them.
    """

    url: str
    key: str
    voice: Any = "default"
    turns: list[dict[str, str]] = field(default_factory=list)

    def hear(self, recording: bytes, words: str) -> None:
        """Add a turn of the user."""
        self._add("user", words, recording)

    def answer(self, text: str) -> bytes:
        """Let the agent speak; return the audio as FLAC.

        Raises:
            RuntimeError: the server refused the request; the message says why.
        """
        turns = [*self.turns[-MAX_TURNS:], {"speaker": "agent", "text": text}]
        body = {"turns": turns, "voices": {"agent": self.voice}, "format": "flac", "consent": True}
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/conversation", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request) as response:
                audio: bytes = response.read()  # or play it while it arrives
        except urllib.error.HTTPError as error:
            raise RuntimeError(json.load(error)["error"]) from None
        self._add("agent", text, audio)
        return audio

    def _add(self, speaker: str, text: str, audio: bytes) -> None:
        self.turns.append({"speaker": speaker, "text": text, "audio": base64.b64encode(audio).decode()})


def main(arguments: list[str]) -> None:
    """Go through the exchanges."""
    if not arguments or len(arguments) % 3:
        raise SystemExit(__doc__)
    url, key = os.environ.get("VOICE_SERVER_URL", "http://127.0.0.1:5000"), os.environ.get("VOICE_SERVER_KEY", "")
    conversation = Conversation(url, key)
    for number in range(len(arguments) // 3):
        recording, words, answer = arguments[3 * number : 3 * number + 3]
        conversation.hear(Path(recording).read_bytes(), words)
        path = Path(f"answer-{number + 1}.flac")
        path.write_bytes(conversation.answer(answer))
        print(f"wrote {path}")


if __name__ == "__main__":
    main(sys.argv[1:])
