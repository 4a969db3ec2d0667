"""The nginx configuration that we recommend, in front of a server."""

import contextlib
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.corpus import watch
from tests.web import raw
from tests.web.conftest import ROOT, answers, free_port, until

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
SHUTTING_DOWN = b"nginx: worker process is shutting down"


@dataclass
class Proxy:
    """nginx with our configuration.

    Attributes:
        port: where it listens.
        trust: its certificate.
        folder: its configuration and logs.
        process: of the master.
        patient: whether it waits for slow clients as long as recommended.
        tls: as recommended, or plain HTTP.
    """

    port: int
    trust: ssl.SSLContext
    folder: Path
    process: "subprocess.Popen[bytes]"
    patient: bool
    tls: bool

    def connect(self, address: str = "127.0.0.1") -> socket.socket:
        plain = raw.connect(self.port, address=address)
        return self.trust.wrap_socket(plain, server_hostname="localhost") if self.tls else plain

    def ask(self, request: bytes, address: str = "127.0.0.1") -> raw.Answer:
        with self.connect(address) as connection:
            connection.sendall(request)
            return raw.parse(raw.read_to_end(connection))

    def get(self, path: str, address: str = "127.0.0.1") -> raw.Answer:
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n".encode(), address)

    def move_to(self, backend_port: int) -> None:
        """Send new requests to another server, and wait until none is left that goes to the old one."""
        configure(self.folder, self.port, backend_port, self.patient, self.tls)
        self.process.send_signal(signal.SIGHUP)
        until(lambda: self.old_workers(), 30)
        until(lambda: not self.old_workers(), 60)

    def old_workers(self) -> list[int]:
        """Processes that finish what they have begun, and take nothing new."""
        return [pid for pid in watch.children(self.process.pid) if SHUTTING_DOWN in title(pid)]


def title(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def configure(folder: Path, port: int, backend_port: int, patient: bool, tls: bool) -> None:
    """Write our configuration as it is, but for ports, files, and less patience where asked for."""
    site = (ROOT / "deploy/nginx.conf").read_text()
    changes = {
        "127.0.0.1:5000": f"127.0.0.1:{backend_port}",
        "listen 443 ssl": f"listen 127.0.0.1:{port} {'ssl' if tls else ''}",
        "/etc/nginx/csm.crt": str(folder / "crt"),
        "/etc/nginx/csm.key": str(folder / "key"),
    }
    if not patient:
        changes |= {"client_header_timeout 10s": "client_header_timeout 1s"}
        changes |= {"client_body_timeout 10s": "client_body_timeout 2s"}
    for recommended, here in changes.items():
        assert site.count(recommended) == 1
        site = site.replace(recommended, here)
    (folder / "site.conf").write_text(site)


@contextlib.contextmanager
def nginx(folder: Path, backend_port: int, patient: bool = False, tls: bool = True) -> Iterator[Proxy]:
    """Our configuration in front of a port."""
    files = ["-keyout", folder / "key", "-out", folder / "crt"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    certificate = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files, *names]
    subprocess.run(certificate, check=True, capture_output=True)
    port = free_port()
    configure(folder, port, backend_port, patient, tls)
    temporary = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log warn; events {{ worker_connections 2000; }}"
        f" http {{ access_log off; {temporary} include {folder}/site.conf; }}"
    )
    process = subprocess.Popen([NGINX, "-c", folder / "nginx.conf", "-p", folder, "-e", folder / "error.log"])
    until(lambda: answers(port) or process.poll() is not None)
    assert process.poll() is None, (folder / "error.log").read_text()
    try:
        trust = ssl.create_default_context(cafile=str(folder / "crt"))
        yield Proxy(port, trust, folder, process, patient, tls)
    finally:
        process.terminate()
        process.wait(10)
    assert "buffered to a temporary file" not in (folder / "error.log").read_text()
