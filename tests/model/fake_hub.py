"""A Hub on loopback that answers as the real one does, and notes what it is asked for."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"

FILES = {
    "config.json": b'{"transformers_weights": "transformers.safetensors.index.json"}',
    "tokenizer.json": b"{}",
    "chat_template.jinja": b"template",
    "transformers-00001-of-00002.safetensors": b"first",
    "transformers-00002-of-00002.safetensors": b"second",
    "transformers.safetensors.index.json": b"{}",
    "model.safetensors": b"the same in the original layout",
    "ckpt.pt": b"a pickle",
    "pytorch_model.bin": b"another pickle",
    "modeling_csm.py": b"code",
    "prompts/conversational_a.wav": b"RIFF",
    "prompts/secret.json": b"{}",
    "README.md": b"# A model",
}

LARGE = (".safetensors", ".pt", ".bin", ".wav", "tokenizer.json")
"""Ends of the names of files that the Hub keeps apart from git (LFS): their ETag is the hash of their content."""

REFUSALS = {
    "gated": (401, "GatedRepo", "Access to model is restricted. You must be authenticated to access it."),
    "forbidden": (403, "GatedRepo", "Access to model is restricted and you are not in the authorized list."),
    "private": (401, "RepoNotFound", "Repository not found"),
    "missing": (404, "RepoNotFound", "Repository not found"),
    "empty": (404, "EntryNotFound", "Entry not found"),
    "token": (401, "", "Invalid credentials in Authorization header"),
    "tea": (418, "", "I'm a teapot"),
}


class Hub(ThreadingHTTPServer):
    """Repositories are called by how they refuse; all others have the same files.

    Args:
        files: content by name.
    """

    daemon_threads = True

    def __init__(self, files: Mapping[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.asked: list[str] = []

    @property
    def files_asked(self) -> set[str]:
        """Names of all files whose content or headers were asked for."""
        parts = (path.partition("/resolve/")[2] for path in self.asked)
        return {part.partition("/")[2] for part in parts if part}

    @property
    def address(self) -> str:
        """Return the value for `HF_ENDPOINT`."""
        return f"http://127.0.0.1:{self.server_port}"


def files_in(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder as a repository serves them."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def hub(files: Mapping[str, bytes] = FILES) -> Iterator[Hub]:
    """Serve a repository on loopback."""
    server = Hub(files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        self.server.asked.append(self.path)
        parts = self.path.partition("?")[0].removeprefix("/api/models").strip("/").split("/")
        owner, revision, file = parts[0], "".join(parts[3:4]), "/".join(parts[4:])
        if owner in REFUSALS:
            self._refuse(*REFUSALS[owner])
        elif revision not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
        elif self.path.startswith("/api/"):
            describe = _tree if parts[2] == "tree" else _description
            self._send(json.dumps(describe(self.server.files)).encode())
        elif file in self.server.files:
            body = self.server.files[file]
            self._send(body, headers={"ETag": f'"{_etag(file, body)}"'})
        else:
            self._refuse(404, "EntryNotFound", "Entry not found")

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._send(b"", status, {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})})

    def _send(self, body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        named = {
            "Content-Length": str(len(body)),
            "X-Repo-Commit": COMMIT,
        }
        for name, value in {**named, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _etag(name: str, body: bytes) -> str:
    if name.endswith(LARGE):
        return hashlib.sha256(body).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


def _tree(files: Mapping[str, bytes]) -> list[dict[str, object]]:
    sizes = {name: len(data) for name, data in files.items()}
    return [{"type": "file", "path": name, "size": size, "oid": COMMIT} for name, size in sizes.items()]


def _description(files: Mapping[str, bytes]) -> dict[str, object]:
    siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
    return {
        "id": "good/model",
        "modelId": "good/model",
        "sha": COMMIT,
        "siblings": siblings,
        "tags": [],
        "private": False,
    }
