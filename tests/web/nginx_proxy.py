"""The real nginx with `deploy/nginx.conf`, in front of a server."""

import contextlib
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import process_probes, raw_http
from tests.paths import ROOT
from tests.polling import wait_until
from tests.ports import free_port, is_listening

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
SHUTTING_DOWN = b"nginx: worker process is shutting down"


@dataclass
class NginxProxy:
    """A running nginx.

    Attributes:
        port: where it listens.
        trust: TLS context that accepts its certificate.
        folder: its configuration and logs.
        process: of its master.
        patient: whether it has the recommended time limits for clients, or shorter ones.
        tls: whether it speaks TLS, as recommended, or plain HTTP.
    """

    port: int
    trust: ssl.SSLContext
    folder: Path
    process: "subprocess.Popen[bytes]"
    patient: bool
    tls: bool

    def connect(self, address: str = "127.0.0.1") -> socket.socket:
        """Connect from one of this machine's addresses."""
        plain = raw_http.connect(self.port, address=address)
        return self.trust.wrap_socket(plain, server_hostname="localhost") if self.tls else plain

    def ask(self, request: bytes, address: str = "127.0.0.1") -> raw_http.Answer:
        """Send a request that closes its connection, and read the whole answer."""
        with self.connect(address) as connection:
            connection.sendall(request)
            return raw_http.parse(raw_http.read_to_end(connection))

    def get(self, path: str, address: str = "127.0.0.1") -> raw_http.Answer:
        """Send a GET without a key."""
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n".encode(), address)

    def move_to(self, backend_port: int) -> None:
        """Send new requests to another server; return when no request is left that goes to the old one."""
        configure(self.folder, self.port, backend_port, self.patient, self.tls)
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.old_workers(), 30)
        wait_until(lambda: not self.old_workers(), 60)

    def old_workers(self) -> list[int]:
        """Return the processes that finish their requests and accept no new ones."""
        return [pid for pid in process_probes.children(self.process.pid) if SHUTTING_DOWN in command_line(pid)]


def command_line(pid: int) -> bytes:
    """Return the command line of a process; empty when it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def configure(folder: Path, port: int, backend_port: int, patient: bool, tls: bool) -> None:
    """Write the recommended configuration with other ports and files, and shorter time limits unless `patient`."""
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
def nginx_proxy(folder: Path, backend_port: int, patient: bool = False, tls: bool = True) -> Iterator[NginxProxy]:
    """Run nginx in front of a port on loopback; see `NginxProxy`."""
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "crt")]
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
    wait_until(lambda: is_listening(port) or process.poll() is not None)
    assert process.poll() is None, (folder / "error.log").read_text()
    try:
        trust = ssl.create_default_context(cafile=str(folder / "crt"))
        yield NginxProxy(port, trust, folder, process, patient, tls)
    finally:
        process.terminate()
        process.wait(10)
    assert "buffered to a temporary file" not in (folder / "error.log").read_text()
