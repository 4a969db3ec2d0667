"""Turn Markdown, HTML, emoji and addresses into text as it is read aloud."""

import html
import re
import unicodedata
from urllib.parse import unquote

WRAPPED = 60
"""Length in characters from which a line counts as part of a wrapped paragraph, unless it ends a sentence."""

MAX_EMOJI = 10
"""Number of emoji that are read by their names in a text with nothing else."""

_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u231a\u231b\u23e9-\u23f3\u23f8-\u23fa]"
    "|[\ufe0e\ufe0f\u20e3]"
)
_NAMELESS = re.compile("[\ufe0e\ufe0f\u20e3\U0001f1e6-\U0001f1ff\U0001f3fb-\U0001f3ff]")

_FENCE = re.compile(r"\s*(```|~~~)")
_RULE = re.compile(r"\s*([-*_=]\s*){3,}$|[\s|:-]*-[\s|:-]*\|[\s|:-]*$")
_HEADING = re.compile(r"\A\s{0,3}#{1,6}\s+")
_ITEM = re.compile(r"\A\s*(?:[-*+•‣◦▪]\s+(?:\[[ xX]\]\s+)?|(\d{1,3})[.)]\s)")
_QUOTE = re.compile(r"\A(?:\s*>)+(?:\s+|$)")
_ROW = re.compile(r"\s*\|(.*)\|\s*$")
_LINK = re.compile(r"!?\[([^\[\]\n]*)\]\([^()\s]*(?:\s[^()\n]*)?\)")
_AUTOLINK = re.compile(r"<((?:https?://|mailto:)[^<>\s]+|[^<>\s@]+@[^<>\s]+)>")
_TAG = re.compile(r"</?[a-zA-Z][a-zA-Z0-9]{0,15}(?:\s[^<>]*|/)?>|<!--[^<>]*-->")
_ENTITY = re.compile(r"&(?:[a-zA-Z]{2,8}|#[0-9]{1,6}|#x[0-9a-fA-F]{1,5});")
# Asterisks between numbers are multiplication, and underscores within a word are part of it; the rest is emphasis.
_EMPHASIS = re.compile(r"(?<!\w)_+(?=\S)|(?<=\S)_+(?!\w)|`+|~~+|\*\*+|(?<![\d\s])\*|\*(?![\d\s])")

_WEB = re.compile(r"(?<![\w@./-])(?:https?://|ftp://|www\.)[^\s<>\"“”]+", re.IGNORECASE)
_MAIL = re.compile(r"(?<![\w.+-])(?:mailto:)?[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
# Bare domain and file names. Endings that are English words, such as .it, .is and .me, are left out.
_NAME = re.compile(
    r"(?<![\w@./-])[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}"
    r"\.(?:com|org|net|edu|gov|io|ai|dev|app|co|uk|de|fr|eu|py|js|md|txt|pdf|csv|json|html|xml|yaml|exe|zip)"
    r"(?:/[^\s<>\"“”]*)?(?![\w@])"
)
_TRAILING = ".,;:!?)]}'\"*_…"
_SPOKEN = {
    ".": "dot", "/": "slash", "-": "dash", "_": "underscore", "@": "at", "+": "plus", "~": "tilde", ":": "colon",
    "&": "and", "=": "equals", "#": "hash", "%": "percent",
}  # fmt: skip


def read_markup(text: str) -> str:
    """Return the text without Markdown and HTML, with blocks separated by empty lines.

    Headings, list items and table rows become sentences: each block except the last gets a full stop if it lacks one.
    The lines of a wrapped paragraph are joined.
    """
    blocks: list[str] = []
    open_block = False
    for line in text.split("\n"):
        if not line.strip() or _FENCE.match(line) or _RULE.match(line):
            open_block = False
            continue
        line = _QUOTE.sub("", line)
        row, heading, item = _ROW.match(line), _HEADING.match(line), _ITEM.match(line)
        if row:
            line = ", ".join(cell.strip() for cell in row[1].split("|") if cell.strip())
        line = _HEADING.sub("", line)
        line = _ITEM.sub(lambda match: f"{match[1]}. " if match[1] else "", line)
        line = _ENTITY.sub(lambda match: html.unescape(match[0]), _TAG.sub(" ", _AUTOLINK.sub(r"\1", line)))
        line = " ".join(_EMPHASIS.sub("", _LINK.sub(r"\1", line)).split())
        if open_block and not (row or heading or item) and _continues(blocks[-1], line):
            blocks[-1] += f" {line}"
        elif line:
            blocks.append(line)
        open_block = bool(blocks) and not (row or heading)
    return "\n\n".join([*map(_ended, blocks[:-1]), *blocks[-1:]])


def read_emoji(text: str) -> str:
    """Return the text without emoji; a text of nothing but emoji becomes their names."""
    words = _EMOJI.sub(" ", text)
    if any(character.isalnum() for character in words):
        return words
    emoji = _EMOJI.findall(_NAMELESS.sub("", text))[:MAX_EMOJI]
    return ", ".join(filter(None, (unicodedata.name(character, "").lower() for character in emoji))) or text


def read_addresses(text: str) -> str:
    """Return the text with web addresses, e-mail addresses and file names as they are read aloud.

    Of a web address, only host and path are read; scheme, `www`, query and fragment mean nothing to a listener.
    """
    text = _WEB.sub(lambda match: _spoken_url(match[0]), text)
    text = _MAIL.sub(lambda match: _aloud(match[0].removeprefix("mailto:")), text)
    return _NAME.sub(lambda match: _spoken_url(match[0]), text)


def _continues(block: str, line: str) -> bool:
    """Return whether a line continues the sentence or the paragraph before it."""
    return line[:1].islower() or len(block) >= WRAPPED or not block[-1:].isalnum()


def _ended(block: str) -> str:
    return f"{block}." if block.rstrip("\"'”’)]»")[-1:].isalnum() else block


def _spoken_url(address: str) -> str:
    kept = address.rstrip(_TRAILING)
    scheme_free = re.sub(r"^(?:\w+://)?(?:www\.)?", "", kept, flags=re.IGNORECASE)
    path = re.split(r"[?#]", scheme_free, maxsplit=1)[0].rstrip("/")
    return _aloud(unquote(path)) + address[len(kept) :]


def _aloud(address: str) -> str:
    return " ".join("".join(f" {_SPOKEN.get(c, c)} " if not c.isalnum() else c for c in address).split())
