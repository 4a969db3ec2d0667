"""Write numbers in English words, with num2words."""

from num2words import num2words

MAX_DIGITS = 15
"""Longer numbers, like those with a leading zero, are read digit by digit."""

FRACTIONS = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5",
             "⅘": "4/5", "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8"}  # fmt: skip


def number(text: str) -> str:
    """Return a number such as `1,250.50` in words, without commas, since the model would pause at them."""
    whole, point, decimals = text.replace(",", "").partition(".")
    if not whole:
        words = ""
    elif len(whole) > MAX_DIGITS or (len(whole) > 1 and whole.startswith("0")):
        words = digits(whole)
    else:
        words = _words(int(whole))
    return f"{words} point {digits(decimals)}".strip() if point and decimals else words


def digits(text: str) -> str:
    """Return the digits as words, one by one."""
    return " ".join(_words(int(digit)) for digit in text)


def ordinal(text: str) -> str:
    """Return `21` as `twenty-first`."""
    plain = text.replace(",", "")
    return _words(int(plain), "ordinal") if len(plain) <= MAX_DIGITS else digits(plain)


def year(text: str) -> str:
    """Return `1999` as `nineteen ninety-nine`."""
    return _words(int(text), "year")


def plural(words: str) -> str:
    """Return `nineteen ninety` as `nineteen nineties`, for decades."""
    return words[:-1] + "ies" if words.endswith("y") else words + "s"


def fraction(numerator: str, denominator: str) -> str:
    """Return `3`, `4` as `three quarters`."""
    part = {"2": "half", "4": "quarter"}.get(denominator) or ordinal(denominator)
    if numerator == "1":
        return f"one {part}"
    return f"{number(numerator)} {'halves' if part == 'half' else part + 's'}"


def _words(value: int, to: str = "cardinal") -> str:
    words: str = num2words(value, lang="en", to=to)
    return words.replace(",", "")
