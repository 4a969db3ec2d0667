"""The real HAProxy with `deploy/haproxy/haproxy.cfg`, in front of several servers."""

import contextlib
import csv
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import raw_http
from tests.paths import ROOT
from tests.polling import wait_until
from tests.ports import free_port

HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"
CONFIGURATION = ROOT / "deploy/haproxy/haproxy.cfg"
NAMES = "abc"


@dataclass
class HaProxy:
    """A running HAProxy.

    Attributes:
        port: where it listens.
        admin: its runtime API.
        process: of HAProxy.
    """

    port: int
    admin: Path
    process: "subprocess.Popen[bytes]"

    def ask(self, request: bytes, timeout: float = 60) -> raw_http.Answer:
        """Send a request on a connection of its own and read the whole answer."""
        return raw_http.ask(self.port, request, timeout)

    def command(self, text: str) -> str:
        """Return what the runtime API answers."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.admin))
            connection.sendall(f"{text}\n".encode())
            return raw_http.read_to_end(connection).decode()

    def servers(self) -> dict[str, dict[str, str]]:
        """Return the statistics of each server by its name: `status`, `scur`, `wretr`, ..."""
        table = csv.DictReader(self.command("show stat").removeprefix("# ").splitlines())
        return {row["svname"]: row for row in table if row["pxname"] == "csm" and row["svname"] in NAMES}

    @property
    def is_idle(self) -> bool:
        """Whether no request is in progress, as far as HAProxy knows."""
        return all(row["scur"] == "0" for row in self.servers().values())

    def is_up(self, name: str) -> bool:
        """Whether a server gets requests."""
        return self.servers()[name]["status"] == "UP"

    @contextlib.contextmanager
    def only(self, names: str) -> Iterator[None]:
        """Send new requests to these servers only."""
        others = [name for name in NAMES if name not in names]
        for name in others:
            self.command(f"set server csm/{name} state drain")
        yield
        for name in others:
            self.command(f"set server csm/{name} state ready")


@contextlib.contextmanager
def haproxy(folder: Path, servers: Sequence[int], maxconn: int) -> Iterator[HaProxy]:
    """Run HAProxy in front of three ports on loopback, each for at most `maxconn` requests at once."""
    port, admin = free_port(), folder / "admin.sock"
    configuration = CONFIGURATION.read_text()
    changes = {"127.0.0.1:8000": f"127.0.0.1:{port}", "/run/haproxy/admin.sock mode 660": str(admin)}
    changes |= {f"127.0.0.1:500{number}": f"127.0.0.1:{server}" for number, server in enumerate(servers, 1)}
    changes |= {"maxconn 10": f"maxconn {maxconn}"}
    for recommended, here in changes.items():
        assert configuration.count(recommended) == 1, recommended
        configuration = configuration.replace(recommended, here)
    (folder / "haproxy.cfg").write_text(configuration)
    with (folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen([HAPROXY, "-db", "-f", folder / "haproxy.cfg"], stdout=log, stderr=log)
    running = HaProxy(port, admin, process)

    def serves() -> bool:
        assert process.poll() is None, (folder / "haproxy.log").read_text()
        with contextlib.suppress(OSError):
            return all(map(running.is_up, NAMES))
        return False

    try:
        wait_until(serves)
        yield running
    finally:
        process.terminate()
        process.wait(30)
