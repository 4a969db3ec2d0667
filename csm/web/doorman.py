"""Turns callers away where the header alone says so: before a thread, the application and the body are bothered.

In a crowd most are turned away, on the processor that has to speak for the others. The application would answer the
same, at several times the price; whatever is not plainly the one request that speaks is left to it.
"""

import re
from collections.abc import Callable

from csm.errors import Unavailable
from csm.web import access, auth, problems, request_id
from csm.web.access import Access
from csm.web.clone import ROUTE
from csm.web.keys import Keyring
from csm.web.lobby import Lobby

METHOD = "POST"
REQUEST_LINE = f"{METHOD} {ROUTE} HTTP/1.1"
STATUS = 503

MOST_FIELDS = 32
"""More are left to a thread: what comes here is looked through in the main loop."""

_FIELD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
_LENGTH = re.compile(r"[0-9]{1,18}")
_UNUSUAL = {"origin", "transfer-encoding", "expect"}


class Doorman:
    """Knows who has a key and whether there is a place.

    Args:
        keys: of those who may call.
        lobby: where they wait for their bodies.
    """

    def __init__(self, keys: Keyring, lobby: Lobby) -> None:
        self._keys, self._lobby = keys, lobby

    def meet(self, head: bytes) -> "bytes | Callable[[], None] | None":
        """See what is to be done with a request.

        Args:
            head: the header of a request, without the empty line at its end.

        Returns:
            the answer, where there is no place; what leaves the lobby again, where there is one; None where the
            application has to decide.
        """
        headers = _headers(head)
        if headers is None:
            return None
        caller = auth.caller(self._keys, headers.get("authorization", ""), headers.get("x-api-key", ""))
        if caller is None and self._keys.is_needed:
            return None
        try:
            return self._lobby.enter()
        except Unavailable as error:
            return _refuse(error, headers, caller)


def _headers(head: bytes) -> dict[str, str] | None:
    """Of the one request that is known here, by name in small letters; None where there is anything unusual."""
    first, *lines = head.decode("latin-1").split("\r\n", MOST_FIELDS + 1)
    if first != REQUEST_LINE or len(lines) > MOST_FIELDS or not all(map(_FIELD.fullmatch, lines)):
        return None
    fields = [line.partition(":") for line in lines]
    headers = {name.lower(): value.strip(" \t") for name, _, value in fields}
    # Servers join the values of a repeated field, or refuse it.
    unusual = len(headers) < len(fields) or headers.keys() & _UNUSUAL
    return None if unusual or not _LENGTH.fullmatch(headers.get("content-length", "")) else headers


def _refuse(error: Unavailable, headers: dict[str, str], caller: str | None) -> bytes:
    entry = Access(request_id.choose(headers.get(request_id.HEADER.lower())), METHOD, ROUTE, caller)
    entry.noted["error"] = type(error).__name__
    entry.write(STATUS)
    return problems.message(STATUS, str(error), entry.id, problems.retry_headers(error) | access.HEADERS)
