"""Parse JSON of untrusted clients: strictly, and within limits of size and structure."""

import json
from typing import Any, NoReturn

from werkzeug.exceptions import BadRequest

MAX_STRUCTURAL_CHARACTERS = 100_000
"""Maximum number of characters that begin or separate values, and of escapes.

They make a document slow to parse and large in memory: ten megabytes of `[],` would become 200 MB of Python objects,
and no other thread runs while they are made. Texts contain these characters too, and libraries that write ASCII escape
each character of many languages; base64 has none of them.
"""

_STRUCTURAL = (b",", b"[", b"{", b"\\")


class _Repeated(Exception):
    """An object has two members of one name."""


def parse(data: bytes, what: str = "The JSON body") -> Any:
    """Return a document; duplicate keys and numbers that JSON does not have are refused.

    Args:
        data: the document in UTF-8.
        what: its name in error messages.

    Raises:
        BadRequest: the document is malformed, not UTF-8, ambiguous or too complex.
    """
    if sum(map(data.count, _STRUCTURAL)) > MAX_STRUCTURAL_CHARACTERS:
        raise BadRequest(f"{what} has too many values.")
    try:
        return json.loads(data.decode(), object_pairs_hook=_unambiguous, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise BadRequest(f"{what} is not valid UTF-8.") from None
    except RecursionError:
        raise BadRequest(f"{what} is nested too deeply.") from None
    except _Repeated:
        raise BadRequest(f"{what} has a repeated name: each may be sent once.") from None
    except ValueError:
        raise BadRequest(f"{what} is malformed JSON; let a JSON library write it.") from None


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Repeated
    return found


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")
