"""`csm say`: speak a text in a voice, with a model that is loaded here or with a running server."""

import argparse
import logging
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from csm.audio.decode import decode
from csm.audio.encoders import FORMATS, make_encoder
from csm.audio.encoders.pcm import from_pcm16, pcm16
from csm.audio.waveform import Waveform
from csm.cli import plot
from csm.cli.player import Player, PlayerError
from csm.cli.progress import Progress
from csm.cli.remote import RemoteError, stream
from csm.errors import CsmError, UnknownVoice
from csm.speech.api import SAMPLE_RATE
from csm.speech.voices.api import ANONYMOUS
from csm.speech.voices.library import VoiceLibrary

KEY = "VOICE_SERVER_KEY"
"""Environment variable with the key of a server. It must not begin with CSM_: a server refuses unknown CSM_ names as
misspelt settings."""

MAX_PLOTTED_SECONDS = 60.0

OPTIONS = ("transcript", "temperature", "top_k", "seed", "max_seconds", "speed")


def main(arguments: Sequence[str]) -> int:
    """Speak the text given on the command line; return the exit status."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if args.output is None and not args.play:
        parser.error("name a file with --output, or listen with --play")
    for option, path in (("--output", args.output), ("--plot", args.plot)):
        if path is not None and not path.parent.is_dir():
            parser.error(f"{option}: there is no folder {path.parent}")
    if args.url and not args.url.startswith(("http://", "https://")):
        parser.error("--url must begin with http:// or https://")
    # Imported late, so that --help is fast.
    from csm.settings import SettingsError

    suffix = args.output.suffix.lower() if args.output is not None else ""
    formats = {fmt.suffix: name for name, fmt in FORMATS.items()} | {"": "wav"}
    if suffix not in formats:
        parser.error(f"--output: the name must end with one of {', '.join(filter(None, formats))}")
    try:
        _say(args, formats[suffix])
    except SettingsError as error:
        return _fail(str(error), 2)
    except UnknownVoice:
        return _fail(f"{args.voice} is neither a file here nor a stored voice", 1)
    except (CsmError, RemoteError, PlayerError, plot.PlotError) as error:
        return _fail(str(error), 1)
    except OSError as error:
        return _fail(f"{error.filename or 'the output'}: {error.strerror or error}", 1)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="csm say",
        description="Say a text in the voice of a recording, by a model that is loaded here (CSM_MODEL and the other "
        "settings apply), or with --url by a running server.",
    )
    parser.add_argument(
        "--voice", required=True, help="recording of the speaker, 5 to 15 s of clean speech; or name of a stored voice"
    )
    parser.add_argument("--text", required=True, help="what to say, in English; - reads it from standard input")
    parser.add_argument("--transcript", help="the words of the recording: the voice becomes more alike")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="file to write: .wav, .mp3, .opus, .aac, .flac or .pcm; - writes WAV to standard output",
    )
    parser.add_argument("--play", action="store_true", help="play it while it is generated")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw spectrograms of recording and speech into a .png or .svg"
    )
    speaker = parser.add_mutually_exclusive_group()
    speaker.add_argument("--model", help="to load here: Hub repository, local folder or `demo`, in place of CSM_MODEL")
    speaker.add_argument("--url", help="of a running server to use instead, such as http://127.0.0.1:5000")
    parser.add_argument("--key", help=f"of that server; by default the variable {KEY}, which others cannot see")
    parser.add_argument("--consent", action="store_true", help="state to that server that the speaker has agreed")
    parser.add_argument("--seed", type=int, help="makes the result repeatable")
    parser.add_argument("--temperature", type=float, help="0 to 2, by default 0.9")
    parser.add_argument("--top-k", type=int, help="codes to choose from at each draw, 1 to 2051, by default 50")
    parser.add_argument("--max-seconds", type=float, help="longest result")
    parser.add_argument("--speed", type=float, help="0.5 to 2, with the pitch kept; 2 halves the duration")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, only errors")
    return parser


def _say(args: argparse.Namespace, format_name: str) -> None:
    text = sys.stdin.read() if args.text == "-" else args.text
    voice = Path(args.voice).read_bytes() if Path(args.voice).is_file() else str(args.voice)
    options = {name: value for name in OPTIONS if (value := getattr(args, name)) is not None}
    if args.plot:
        plot.check()
    player = Player() if args.play else None
    to_stdout = args.output == Path("-")
    progress = None if args.quiet else Progress(sys.stderr, text)
    spoken, encoded, pcm = 0, bytearray(), bytearray()
    with (
        closing(make_encoder(FORMATS[format_name], SAMPLE_RATE, streamed=to_stdout)) as encoder,
        closing(_remote(args, text, voice, options) if args.url else _local(args, text, voice, options)) as pieces,
    ):
        for piece in pieces:
            spoken += len(piece)
            encoded += encoder.encode(piece)
            if args.plot:
                pcm += piece
            if player:
                player.feed(piece)
            if to_stdout:
                sys.stdout.buffer.write(encoded)
                sys.stdout.buffer.flush()
                encoded.clear()
            if progress:
                progress.update(spoken)
        encoded += encoder.finish()
    if args.output and not to_stdout:
        args.output.write_bytes(encoded)
    if args.plot:
        recordings = {"recording": decode(voice, MAX_PLOTTED_SECONDS)} if isinstance(voice, bytes) else {}
        speech = Waveform(from_pcm16(pcm), SAMPLE_RATE)
        plot.draw(recordings | {"speech": speech}, args.plot)
    if progress:
        progress.finish("played" if args.output is None else "written" if to_stdout else str(args.output))
    if player:
        player.finish()


def _remote(
    args: argparse.Namespace, text: str, voice: bytes | str, options: dict[str, object]
) -> Generator[bytes, None, None]:
    fields = {"text": text, **options} | ({"consent": "true"} if args.consent else {})
    yield from stream(args.url, args.key or os.environ.get(KEY), voice, fields)


def _local(args: argparse.Namespace, text: str, voice: bytes | str, options: Any) -> Generator[bytes, None, None]:
    from csm import settings

    # No socket is opened, so the check that a public CSM_HOST needs keys does not apply; one text needs one slot.
    chosen = settings.load(host="127.0.0.1", slots=1, **({"model": args.model} if args.model else {}))
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("csm").setLevel(logging.ERROR if args.quiet else logging.INFO)
    if isinstance(voice, str):
        # Raises for an unknown voice before the model is loaded.
        VoiceLibrary.from_settings(chosen).open(ANONYMOUS, voice)
    if not args.quiet:
        print(f"loading {chosen.model}", file=sys.stderr)
    # Imports torch, which takes seconds.
    from transformers.utils.logging import disable_progress_bar

    from csm.api import CSM, StoredVoice

    disable_progress_bar()
    with CSM.from_settings(chosen) as model:
        for samples in model.stream(text, StoredVoice(voice) if isinstance(voice, str) else voice, **options):
            yield pcm16(samples)


def _fail(message: str, status: int) -> int:
    print(f"csm say: {message}", file=sys.stderr)
    return status
