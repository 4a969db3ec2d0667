"""A client of the HTTP server."""

import http.client
import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from csm.audio.encoders.wav import HEADER_BYTES

TIMEOUT = 300.0
"""Seconds without a byte from the server; longer than the server lets a request wait for its first audio."""

PIECE = 65536

File = tuple[str, bytes]
"""Name of a part of a form, and its content."""


class RemoteError(Exception):
    """The server cannot be reached or refused the request; the message is meant for the user."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Report redirects as errors: following one would send the key to another server and lose the form."""

    def redirect_request(self, *_: Any) -> None:
        """Return None, which means not to follow it."""


def stream(url: str, key: str | None, voice: bytes | str, fields: Mapping[str, object]) -> Iterator[bytes]:
    """Yield the speech that a server generates, as 16-bit PCM at 24 kHz in pieces of any length.

    Args:
        url: of the server, such as `https://voice.example.com`.
        key: API key of the server, or None.
        voice: content of a file with reference audio, or the name of a stored voice.
        fields: the other fields of the form.

    Raises:
        RemoteError: the server cannot be reached, refused the request, or broke off.
    """
    form = ([], {"voice": voice, **fields}) if isinstance(voice, str) else ([("audio", voice)], fields)
    with _open(_request(url, key, "POST", "/clone-voice", *form)) as answer:
        try:
            head = answer.read(HEADER_BYTES)
            if head[:4] != b"RIFF" or head[24:28] != (24_000).to_bytes(4, "little"):
                raise RemoteError(f"{url} did not answer with WAV at 24 kHz: is it this server?")
            while piece := answer.read1(PIECE):
                yield piece
        except (http.client.HTTPException, OSError) as error:
            raise RemoteError(f"{url} broke off before the end ({type(error).__name__}): try again") from None


def ask(
    url: str,
    key: str | None,
    method: str,
    path: str,
    files: Sequence[File] = (),
    fields: Mapping[str, object] | None = None,
) -> bytes:
    """Return the whole answer to a request.

    Args:
        url: see `stream`.
        key: see `stream`.
        method: of the request.
        path: of the request.
        files: of its form.
        fields: of its form; None for a request without a body.

    Raises:
        RemoteError: the server cannot be reached, refused the request, or broke off.
    """
    with _open(_request(url, key, method, path, files, fields)) as answer:
        try:
            return answer.read()
        except (http.client.HTTPException, OSError) as error:
            raise RemoteError(f"{url} broke off before the end ({type(error).__name__}): try again") from None


def health(url: str) -> dict[str, Any]:
    """Return the `/health` document of a server, whatever its state.

    Raises:
        RemoteError: no server of this project answers there.
    """
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            content = answer.read(PIECE)
    except urllib.error.HTTPError as error:
        content = error.read(PIECE)
    except (http.client.HTTPException, OSError) as error:
        raise RemoteError(f"{url} cannot be reached: {error}") from None
    try:
        document: dict[str, Any] = json.loads(content)
        return {"status": document["status"], "model": document["model"]} | document
    except (ValueError, TypeError, KeyError):
        raise RemoteError(f"{url}/health is not that of this server") from None


def _request(
    url: str, key: str | None, method: str, path: str, files: Sequence[File], fields: Mapping[str, object] | None
) -> urllib.request.Request:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body = None
    if fields is not None:
        body, headers["Content-Type"] = _form(files, fields)
    return urllib.request.Request(f"{url.rstrip('/')}{path}", body, headers, method=method)


@contextmanager
def _open(request: urllib.request.Request) -> Iterator[http.client.HTTPResponse]:
    try:
        answer = urllib.request.build_opener(_NoRedirects).open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            raise RemoteError(_explain(error)) from None
    except urllib.error.URLError as error:
        raise RemoteError(f"{request.full_url} cannot be reached: {error.reason}") from None
    except (http.client.HTTPException, OSError) as error:
        raise RemoteError(f"{request.full_url} cannot be reached: {error or type(error).__name__}") from None
    with answer:
        yield answer


def _explain(error: urllib.error.HTTPError) -> str:
    """Return why the server refused, in its own words if it sent any."""
    if (target := error.headers.get("Location")) is not None:
        return f"the server answered {error.code}: use the address {target.removesuffix('/clone-voice')}"
    reason = error.reason
    try:
        problem = json.loads(error.read(PIECE))
        error_member = problem.get("error")
        said = error_member.get("message") if isinstance(error_member, dict) else error_member
        reason = problem.get("detail") or said or reason
    except (ValueError, AttributeError, http.client.HTTPException, OSError):
        pass
    wait = error.headers.get("Retry-After")
    return f"the server answered {error.code}: {reason}" + (f" (try again in {wait} s)" if wait else "")


def _form(files: Sequence[File], fields: Mapping[str, object]) -> tuple[bytes, str]:
    """Return the body of a form, and its content type (RFC 7578)."""
    boundary = uuid.uuid4().hex
    parts = [
        f'Content-Disposition: form-data; name="{name}"; filename="voice"\r\n\r\n'.encode() + content
        for name, content in files
    ]
    for name, value in fields.items():
        parts.append(f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode())
    body = b"".join(b"--%s\r\n%s\r\n" % (boundary.encode(), part) for part in parts)
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"
