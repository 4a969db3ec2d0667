"""Load from many callers with Locust: `make load URL=http://127.0.0.1:5000 KEY=... USERS=20 SECONDS=60`.

A refusal with 503 or 429 and `Retry-After` is what an overloaded server owes its callers: it is counted by name and
is no failure. A torn answer is one.
"""

from pathlib import Path
from typing import Any

from locust import HttpUser, between, constant, events, task

SAMPLE = Path(__file__).parents[1] / "examples" / "voice.webm"
REFUSALS = (429, 503)


@events.init_command_line_parser.add_listener
def _options(parser: Any) -> None:
    parser.add_argument("--key", default="", is_secret=True, help="API key; empty for none")
    parser.add_argument("--seconds", default="1", help="longest answer, in seconds of audio")
    parser.add_argument("--text", default="The quick brown fox jumps over the lazy dog.", help="what to say")


class Caller(HttpUser):
    """Clones a voice, again and again."""

    wait_time = between(0, 1)
    weight = 9

    def on_start(self) -> None:
        """Read the sample once."""
        self._sample = SAMPLE.read_bytes()

    @task(9)
    def listen(self) -> None:
        """Hear the answer to its end."""
        with self._post() as answer:
            if answer.status_code in REFUSALS and "Retry-After" in answer.headers:
                answer.request_meta["name"] = f"/clone-voice refused with {answer.status_code}"
                answer.success()
                return
            try:
                heard = sum(len(piece) for piece in answer.iter_content(65536))
            except OSError:
                answer.failure("torn")
                return
            if answer.status_code != 200 or heard <= 44:
                answer.failure(f"{answer.status_code} with {heard} bytes")

    @task(1)
    def hang_up(self) -> None:
        """Leave after the first piece."""
        with self._post(name="/clone-voice, hung up") as answer:
            next(answer.iter_content(1024), None)
            answer.success()

    def _post(self, name: str | None = None) -> Any:
        options = self.environment.parsed_options
        return self.client.post(
            "/clone-voice",
            data={"text": options.text, "max_seconds": options.seconds},
            files={"audio": ("voice.webm", self._sample)},
            headers={"X-API-Key": options.key} if options.key else {},
            stream=True,
            catch_response=True,
            name=name,
        )


class Balancer(HttpUser):
    """Asks for `/health`, as a load balancer does."""

    wait_time = constant(0.2)
    fixed_count = 1

    @task
    def health(self) -> None:
        """Loading, draining and unhealthy count as failures."""
        self.client.get("/health")
