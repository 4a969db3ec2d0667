"""Play speech while it is generated, with a player that is installed."""

import queue
import shutil
import subprocess
import tempfile
import threading
from contextlib import suppress

from csm.audio.encoders.wav import header, streaming_header
from csm.speech.api import SAMPLE_RATE

FROM_PIPE = {
    "ffplay": ("-autoexit", "-nodisp", "-loglevel", "error", "-i", "-"),
    "aplay": ("-q", "-"),
}
FROM_FILE = "afplay"
"""The player of macOS. It only reads files, so it starts after everything is generated."""


class PlayerError(Exception):
    """The audio cannot be played; the message is meant for the user."""


class Player:
    """Play PCM as it arrives. A queue feeds the player, because players read no faster than they play.

    Raises:
        PlayerError: no player is installed.
    """

    def __init__(self) -> None:
        name = next((name for name in (*FROM_PIPE, FROM_FILE) if shutil.which(name)), None)
        if name is None:
            raise PlayerError(f"no player was found: install ffmpeg, whose ffplay it uses (or {', '.join(FROM_PIPE)})")
        self._name = name
        self._pieces: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._status = 0
        self._thread = threading.Thread(target=self._play, name="player", daemon=True)
        self._thread.start()

    def feed(self, pcm: bytes) -> None:
        """Queue more PCM to be played; never blocks."""
        self._pieces.put(pcm)

    def finish(self) -> None:
        """Wait until everything is played.

        Raises:
            PlayerError: the player failed.
        """
        self._pieces.put(None)
        self._thread.join()
        if self._status:
            raise PlayerError(f"{self._name} ended with status {self._status}: is there an audio device?")

    def _play(self) -> None:
        pieces = iter(self._pieces.get, None)
        if self._name == FROM_FILE:
            pcm = b"".join(pieces)
            with tempfile.NamedTemporaryFile(suffix=".wav") as file:
                file.write(header(SAMPLE_RATE, len(pcm)) + pcm)
                file.flush()
                self._status = subprocess.run([FROM_FILE, file.name]).returncode
            return
        process = subprocess.Popen([self._name, *FROM_PIPE[self._name]], stdin=subprocess.PIPE)
        # The pipe breaks if the user closes the player or if the player fails; the exit status shows which.
        with suppress(BrokenPipeError), process:
            assert process.stdin is not None
            process.stdin.write(streaming_header(SAMPLE_RATE))
            for piece in pieces:
                process.stdin.write(piece)
                process.stdin.flush()
        self._status = process.wait()
