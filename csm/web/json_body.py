"""Parse JSON of untrusted clients: strictly, and within limits of size and structure."""

import json
import re
from typing import Any, NoReturn

from werkzeug.exceptions import BadRequest

MAX_STRUCTURE_BYTES = 64_000
"""Maximum size of a document without its strings. Ten megabytes of `[],` would become 200 MB of Python objects."""

# An unterminated string extends to the end, so that no byte is looked at twice.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)


def parse(data: bytes) -> Any:
    """Return a document; duplicate keys and numbers that JSON does not have are refused.

    Raises:
        BadRequest: the document is malformed, not UTF-8, ambiguous or too complex.
    """
    if len(_STRING.sub(b"", data)) > MAX_STRUCTURE_BYTES:
        raise BadRequest("The JSON body has too many values.")
    try:
        return json.loads(data.decode(), object_pairs_hook=_unambiguous, parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise BadRequest("The JSON body is not valid UTF-8.") from None
    except RecursionError:
        raise BadRequest("The JSON body is nested too deeply.") from None
    except ValueError:
        raise BadRequest("The JSON body is malformed; let a JSON library write it.") from None


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadRequest("A field of the JSON body is repeated: each may be sent once.")
    return found


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")
