"""`python -m benchmarks.load`: measure how many requests a second a server answers without gaps in the audio.

Requests of mixed lengths, with new and with repeated voices, arrive at random at increasing rates, and do not wait for
earlier answers (`benchmarks.open_loop`). The server's quota must allow them: start it with
CSM_RATE_LIMIT="1000000 per minute". `python -m benchmarks.load_plot results/load.json` draws the results.
"""

import argparse
import contextlib
import http.client
import json
import random
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import requests
from numpy.typing import NDArray

from benchmarks.open_loop import Client, Order, RefusedError, Send, Sweep, sweep
from benchmarks.pairs import say
from benchmarks.playback import arrivals, is_clean
from benchmarks.report import hardware, table
from benchmarks.scrape import scrape, scraping
from csm.audio.decode import decode
from csm.audio.encoders.pcm import from_pcm16, pcm16
from csm.audio.encoders.wav import HEADER_BYTES, header
from csm.speech import SAMPLE_RATE

RECORDING = Path(__file__).parents[1] / "examples" / "voice.webm"
REFUSALS = (429, 503)
RATES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


class Voices:
    """Random excerpts of one recording; to the server, each is a different voice.

    Args:
        path: of the recording, about ten seconds long.
    """

    def __init__(self, path: Path) -> None:
        self._waveform = decode(path.read_bytes(), max_seconds=60)

    def wav(self, number: int) -> bytes:
        """Return the voice with a number as a WAV file; it is always the same for one number."""
        chance, rate = random.Random(number), self._waveform.sample_rate
        seconds = chance.uniform(0.4, 0.9) * self._waveform.seconds
        start = chance.uniform(0, self._waveform.seconds - seconds)
        data = pcm16(self._waveform.samples[round(start * rate) : round((start + seconds) * rate)])
        return header(rate, len(data)) + data


def http_client(url: str, key: str, voices: Voices) -> Client:
    """Return a client that sends requests to a server over HTTP, with a connection for each."""
    address = urlsplit(url)
    connect = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection

    def prepare(order: Order) -> Send:
        files = {"audio": ("voice.wav", voices.wav(order.voice), "audio/wav")}
        form = requests.Request("POST", url, data={"text": order.text}, files=files).prepare()
        headers = {"Content-Type": form.headers["Content-Type"]} | ({"X-API-Key": key} if key else {})

        def send() -> Iterator[NDArray[np.float32]]:
            connection = connect(address.netloc, timeout=600)
            try:
                connection.request("POST", f"{address.path.rstrip('/')}/clone-voice", form.body, headers)
                answer = connection.getresponse()
                if answer.status in REFUSALS:
                    raise RefusedError(f"{answer.status} {answer.reason}")
                if answer.status != 200:
                    raise RuntimeError(f"{answer.status} {answer.read(300).decode(errors='replace')}")
                yield from samples(answer)
            finally:
                connection.close()

        return send

    return prepare


def samples(answer: http.client.HTTPResponse) -> Iterator[NDArray[np.float32]]:
    """Yield the samples of a WAV stream as they arrive.

    Raises:
        http.client.IncompleteRead: the answer is truncated.
    """
    answer.read(HEADER_BYTES)
    rest = b""
    while piece := answer.read1(65536):
        whole = len(rest + piece) // 2 * 2
        rest, data = (rest + piece)[whole:], (rest + piece)[:whole]
        yield from_pcm16(data)


def main() -> None:
    """Try the rates, print the table, and write the JSON file."""
    args = parse()
    client = http_client(args.url, args.key, Voices(args.recording))
    try:
        heard = sum(len(piece) for piece in client(Order(0.0, "Are you there?", 0))())
    except (OSError, RuntimeError, RefusedError) as error:
        raise SystemExit(f"the server does not answer as it should: {error}") from None
    if args.metrics:
        try:
            scrape(args.metrics, args.metrics_key)
        except requests.RequestException as error:
            raise SystemExit(f"no metrics: check --metrics, --metrics-key and CSM_METRICS_PORT: {error}") from None
    say(f"the first answer had {heard / SAMPLE_RATE:.1f} s of audio")
    plan = Sweep(tuple(args.rates), args.seconds, args.buffer, seed=args.seed)
    result = {"hardware": hardware(), "buffer_s": args.buffer, "seconds": args.seconds, "rates": []}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    with scraping(args.metrics, args.metrics_key) if args.metrics else contextlib.nullcontext([]) as scrapes:
        for row in _timed(sweep(client, plan, SAMPLE_RATE)):
            say(f"{row['rate']:g} a second: {row['played']} of {row['requests']} played, {row['underruns']} underruns")
            result["rates"].append(row)
            args.out.write_text(json.dumps(result | {"metrics": scrapes}, indent=1))
    rows = result["rates"]
    print(table(arrivals(rows)))
    clean = [row["rate"] for row in rows if is_clean(row)]
    print(f"highest rate without underruns or refusals: {f'{max(clean):g} a second' if clean else 'none of these'}")


def _timed(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Add to each row when its rate began, in seconds from the start of the first."""
    start = began = monotonic()
    for row in rows:
        yield row | {"began_s": began - start}
        began = monotonic()


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.load", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:5000", help="of the server")
    parser.add_argument("--key", default="", help="API key; empty for none")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="requests a second, ascending")
    parser.add_argument("--seconds", type=float, default=30.0, help="duration of the arrivals at each rate")
    parser.add_argument(
        "--buffer", type=float, default=0.2, help="seconds of audio that a player buffers before it starts"
    )
    parser.add_argument("--seed", type=int, default=0, help="of arrivals, texts and voices")
    parser.add_argument("--recording", type=Path, default=RECORDING, help="from which the voices are cut")
    parser.add_argument("--metrics", default="", help="address of the server's metrics, to record them meanwhile")
    parser.add_argument("--metrics-key", default="", help="CSM_METRICS_KEY, if --metrics is /metrics of the server")
    parser.add_argument("--out", type=Path, default=Path("results/load.json"), help="JSON file to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
