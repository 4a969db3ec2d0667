"""Write out money, dates, times, telephone numbers, units, symbols and numbers.

Speech models are trained on transcripts, which contain few of these, and read them unreliably. The rules are applied
from the most specific to the most general, each to the result of those before it. Of two readings (`3/4/2024`), the
American one is chosen. num2words puts the numbers themselves into words.
"""

import re
from collections.abc import Callable, Iterable

from csm.speech.numbers import FRACTIONS, digits, fraction, number, ordinal, plural, year
from csm.speech.units import CURRENCIES, SCALES, UNITS

# A number, with commas at the thousands or without any; not part of a word or of a longer number.
_WHOLE = r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,5}(?![0-9])|[0-9]{1,40})"
_N = rf"(?<![\w.,])(?:{_WHOLE}(?:\.[0-9]{{1,20}})?|\.[0-9]{{1,20}})"
_AMOUNT = rf"(?=\.?[0-9])(?P<amount>{_WHOLE}?(?:\.[0-9]{{1,20}})?)"
_SCALE = r"(?:\s?(?P<scale>thousand|million|billion|trillion|bn|tn|[kKMB])\b)?"
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
_MONTH = rf"(?P<month>{'|'.join(_MONTHS)}|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?)"
_DAY = r"(?P<day>0?[1-9]|[12][0-9]|3[01])(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>1[1-9][0-9]{2}|20[0-9]{2})"
_HALF = r"(?P<half>[ap]\.?m\b\.?|[AP]\.?M\b\.?)(?P<end>(?=\s*$|\s+[A-Z\"“](?![A-Z])))?"
_DASH = r"\s?[-–—]\s?"
_FRACTION = f"[{''.join(FRACTIONS)}]"


def _one_of(names: Iterable[str]) -> str:
    return f"(?:{'|'.join(re.escape(name) for name in sorted(names, key=len, reverse=True))})"


_SIGN = _one_of(CURRENCIES)
_UNIT = _one_of(UNITS)
_PER = rf"(?:/(?P<per>{_UNIT}))?(?:\.(?=\s[a-z0-9]))?(?![\w°/])"

Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str] | str]


def normalize(text: str) -> str:
    """Return the text with everything written out; the time is linear in its length."""
    for pattern, reading in _RULES:
        text = pattern.sub(reading, text)
    return text


def _money(match: re.Match[str]) -> str:
    amount, scale = match["amount"], match["scale"]
    one, many, cent, cents = CURRENCIES[match["sign"]]
    if scale:
        return f"{number(amount)} {SCALES.get(scale, scale)} {many}"
    whole, _, part = amount.replace(",", "").partition(".")
    if not cent or len(part) != 2 or not int(part):
        whole = whole if part in ("0", "00") else amount
        return f"{number(whole)} {one if whole == '1' else many}"
    hundredths = f"{number(part.lstrip('0'))} {cent if part == '01' else cents}"
    return f"{number(whole)} {one if whole == '1' else many} and {hundredths}" if int(whole or 0) else hundredths


def _month_day(month: str, day: str, of_year: str | None) -> str:
    return f"{month} {ordinal(day.lstrip('0'))}{f', {year(of_year)}' if of_year else ''}"


def _month(name: str) -> str:
    return next(month for month in _MONTHS if month.startswith(name[:3]))


def _iso_date(match: re.Match[str]) -> str:
    return _month_day(_MONTHS[int(match[2]) - 1], match[3], match["year"]) + (" " if match[4] else "")


def _numeric_date(match: re.Match[str]) -> str:
    month, day = int(match[1]), int(match[3])
    # With slashes, the month comes first (American) unless it would be above 12; with full stops, the day (European).
    if month > 12 or match[2] == ".":
        month, day = day, month
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return match[0]
    return _month_day(_MONTHS[month - 1], str(day), match["year"])


def _day_month(match: re.Match[str]) -> str:
    of_year = f", {year(match['year'])}" if match["year"] else ""
    return f"{match[1] or 'the '}{ordinal(match['day'].lstrip('0'))} of {_month(match['month'])}{of_year}"


def _time(match: re.Match[str]) -> str:
    hour, minute, second, half = match["hour"], match["minute"], match["second"], match["half"]
    said = number(hour.lstrip("0") or "0")
    if minute and minute != "00":
        said += f" oh {number(minute[1])}" if minute[0] == "0" else f" {number(minute)}"
    elif minute and not half and not second:
        said += " o'clock" if 1 <= int(hour) <= 12 else " hundred"
    if second and second != "00":
        said += f" and {number(second.lstrip('0') or '0')} {'second' if second == '01' else 'seconds'}"
    if not half:
        return said
    # The full stop of "p.m." may also end the sentence.
    return f"{said} {half[0].upper()}M{'.' if half.endswith('.') and match['end'] is not None else ''}"


def _phone(match: re.Match[str]) -> str:
    groups = [digits(group) for group in re.findall(r"[0-9]+", match[0])]
    return ("plus " if match[0].startswith("+") else "") + ", ".join(groups)


def _unit(match: re.Match[str]) -> str:
    amount, per = match["amount"], match["per"]
    one, many = UNITS[match["unit"]]
    # A unit after a hyphen is part of an adjective, so it is singular: a 5-km run.
    unit = one if amount == "1" or match["gap"] == "-" else many
    return f"{number(amount)} {unit}{f' per {UNITS[per][0]}' if per else ''}"


def _fraction(whole: str | None, numerator: str, denominator: str) -> str:
    if int(numerator) >= int(denominator):
        return f"{f'{number(whole)} ' if whole else ''}{number(numerator)} over {number(denominator)}"
    part = fraction(numerator, denominator)
    return f"{number(whole)} and {part.replace('one ', 'a ')}" if whole else part


def _version(match: re.Match[str]) -> str:
    parts = match[2].split(".")
    said = (" dot " if len(parts) == 4 else " point ").join(map(number, parts))
    return f"version {said}" if match[1] else said


def _code(match: re.Match[str]) -> str:
    """Read a name of letters and digits, such as BA2490 or GPT4."""
    letters, figures = match[1], match[2]
    is_code = figures.isdigit() and (len(figures) > 3 or figures.startswith("0"))
    return f"{letters} {digits(figures) if is_code else number(figures)}"


def _rule(pattern: str, reading: Callable[[re.Match[str]], str] | str) -> Rule:
    return re.compile(pattern), reading


_RULES: tuple[Rule, ...] = (
    # Latin abbreviations, whose full stop would be taken for the end of a sentence.
    _rule(r"\be\.\s?g\.,?", "for example,"),
    _rule(r"\bi\.\s?e\.,?", "that is,"),
    _rule(r"\bvs\.?(?=\s)", "versus"),
    _rule(r"\betc\b", "et cetera"),
    _rule(r"\bapprox\.(?=\s)", "approximately"),
    _rule(r"\b[Nn]os?\.\s?(?=[0-9])|#(?=[0-9])", "number "),
    _rule(r"#(?=\w)", "hashtag "),
    _rule(rf"(?<![\w)\]])[-−](?={_SIGN}?\.?[0-9])", "minus "),
    # Money.
    _rule(r"(?<=[0-9%])/(?=(?:month|year|week|day|hour|minute|person|user)\b)", " per "),
    _rule(rf"(?<![A-Za-z])({_SIGN})\s?({_WHOLE}){_DASH}(?:{_SIGN})?(?=[0-9])", lambda m: f"{number(m[2])} to {m[1]}"),
    _rule(rf"(?<![A-Za-z])(?P<sign>{_SIGN})\s?{_AMOUNT}(?![0-9]){_SCALE}", _money),
    _rule(rf"(?<![\w.,]){_AMOUNT}{_SCALE}\s?(?P<sign>{_SIGN})(?!\w)", _money),
    # Dates.
    _rule(rf"\b{_YEAR}[-/](0[1-9]|1[0-2])[-/](0[1-9]|[12][0-9]|3[01])(?:(T)(?=[0-9])|\b)", _iso_date),
    _rule(rf"(?<![\w/.])([0-9]{{1,2}})([/.])([0-9]{{1,2}})\2{_YEAR}(?![\w/])", _numeric_date),
    _rule(
        rf"\b{_MONTH} {_DAY}(?:,? {_YEAR})?\b(?![:%,.]?[0-9])",
        lambda m: _month_day(_month(m["month"]), m["day"], m["year"]),
    ),
    _rule(rf"(?<![\w.,:])([Tt]he )?{_DAY}(?: of)?[ -]{_MONTH}(?:(?:,? |-){_YEAR}\b)?", _day_month),
    _rule(rf"\b{_MONTH} (?={_YEAR}\b)", lambda m: f"{_month(m['month'])} "),
    _rule(r"\b((?:1[1-9]|20)[0-9]0)['’]?s\b", lambda m: plural(year(m[1]))),
    _rule(r"(?<!\w)['’]?([2-9]0)['’]?s\b", lambda m: plural(number(m[1]))),
    # Times of day.
    _rule(
        r"(?<![\w:.])(?P<hour>[01]?[0-9]|2[0-4]):(?P<minute>[0-5][0-9])(?::(?P<second>[0-5][0-9]))?"
        rf"(?:Z|\s?{_HALF})?(?![\w:])",
        _time,
    ),
    _rule(rf"(?<![\w:.])(?P<hour>1[0-2]|0?[1-9])(?P<minute>)(?P<second>)\s?{_HALF}(?![\w:])", _time),
    _rule(r"(?<=[0-9]):(?=[0-9])", " to "),
    # Telephone numbers: with a country code, North American, or with a trunk prefix 0.
    _rule(r"(?<![\w+])\+[0-9]{1,3}(?:[\s.-]?\(?[0-9]{1,4}\)?){2,6}(?!\w)", _phone),
    _rule(r"(?<![\w+.-])(?:1[\s.-])?(?:\([0-9]{3}\)\s?|[0-9]{3}[\s.-])[0-9]{3}[.\s-][0-9]{4}(?![\w-])", _phone),
    _rule(r"(?<![\w+.-])(?:[0-9]{3}-[0-9]{4}|\(?0[0-9]{2,4}\)?[\s-][0-9]{3,4}[\s-]?[0-9]{3,4})(?![\w-])", _phone),
    _rule(r"(?<![\w-])[0-9]{1,6}(?:-[0-9]{1,6}){2,5}(?![\w-])|(?<!\w)[0-9]{4}(?: [0-9]{4}){2,4}(?!\w)", _phone),
    _rule(r"(?<=\b[Cc]all )(?:911|999|988|112)\b|(?<=\b[Dd]ial )[0-9]{3}\b", lambda m: digits(m[0])),
    # Fractions.
    _rule(rf"(?<![\w.,/])([0-9]{{1,6}})?\s?({_FRACTION})", lambda m: _fraction(m[1], *FRACTIONS[m[2]].split("/"))),
    _rule(r"\b([0-9]{1,3})/\1\b|\b(24)/7\b", lambda m: f"{number(m[1] or m[2])} {number(m[1] or '7')}"),
    _rule(r"\b9/11\b", "nine eleven"),
    _rule(
        r"(?<![\w.,/])(?:([0-9]{1,4}) )?([1-9])/(10|[2-9])(?![\w/]|[.,][0-9])",
        lambda m: _fraction(m[1], m[2], m[3]),
    ),
    _rule(r"(?<=[0-9])/(?=[0-9])", " slash "),
    # Signs, ranges and products between numbers.
    _rule(r"(?<=[0-9])[xX×](?=[0-9])", " by "),
    _rule(r"(?<=[0-9])(?:\s[xX×]\s|\s?\*\s?)(?=[0-9])", " times "),
    _rule(r"(?<=[0-9])\s[-−–]\s(?=[0-9]{1,15}\s?[=≈])", " minus "),
    _rule(r"(?<=[0-9])\s?÷\s?(?=[0-9])", " divided by "),
    _rule(rf"(?<![A-Za-z0-9]-)({_N})(?:[-–—]|\s[–—]\s)(?={_WHOLE}(?![\w-]{0, 20}-))", r"\1 to "),
    _rule(rf"({_N})[eE]([-−]?)([0-9]{{1,3}})\b", lambda m: f"{m[1]} times 10 to the {'minus ' if m[2] else ''}{m[3]}"),
    _rule(r"(?<![\w.])([0-9])['′]\s?([0-9]{1,2})[\"″”]", r"\1 foot \2"),
    _rule(r"±\s?(?=[0-9])", "plus or minus "),
    _rule(r"[~≈]\s?(?=[0-9])", "about "),
    # Units. A full stop after a unit does not end the sentence if a lower-case word follows.
    _rule(r"\b100s\b", "hundreds"),
    _rule(r"\b1,?000s\b", "thousands"),
    _rule(rf"(?P<amount>{_N})(?P<gap>(?![\s-][LVW]\b)[\s-]?)(?P<unit>{_UNIT}){_PER}", _unit),
    # 4K and 8K are screen resolutions.
    _rule(rf"(?![48]K)({_N})([kKM])\b(?!\.\w)", lambda m: f"{number(m[1])} {SCALES[m[2]]}"),
    _rule(rf"({_N})[xX](?!\w|\s[-+*/=])", lambda m: f"{number(m[1])} times"),
    _rule(r"(?<=\w)\s?(?:\^2\b|²)", " squared"),
    _rule(r"(?<=\w)\s?(?:\^3\b|³)", " cubed"),
    # Ordinals, versions and years.
    _rule(rf"(?<![\w.,])({_WHOLE})(?:st|nd|rd|th)\b", lambda m: ordinal(m[1])),
    _rule(r"(?<![\w.,])(v)?([0-9]{1,5}(?:\.[0-9]{1,5}){2,5})(?!\w|\.[0-9])", _version),
    _rule(rf"(?<![\w.,-]){_YEAR}(?![\w,.-]?[0-9])", lambda m: year(m[1])),
    # Names such as BA2490, H100, COVID-19 and 3D.
    _rule(r"(?<=\w)-(?=[0-9])", " "),
    _rule(r"(?<=[0-9])(?=[A-Za-z])", " "),
    _rule(r"([A-Za-z])([0-9]{1,20}(?:\.[0-9]{1,3})?)(?![0-9])", _code),
    _rule(_N, lambda m: number(m[0])),
    _rule(r"[0-9]{1,20}", lambda m: f" {number(m[0])} "),
    # The remaining symbols.
    _rule(r"\s?&\s?", " and "),
    _rule(r"(?<=\w)\s?\+\s?(?=\w)", " plus "),
    _rule(r"\s=+>?\s|(?<=\w)={1,3}(?=\w)", " equals "),
    _rule(r"(?<=\w)\s<\s(?=\w)", " is less than "),
    _rule(r"(?<=\w)\s>\s(?=\w)", " is greater than "),
    _rule(r"\s?(?:≤|<=)\s?", " is at most "),
    _rule(r"\s?(?:≥|>=)\s?", " is at least "),
    _rule(r"\s?(?:→|⇒|->)\s?", " to "),
    _rule(r"(?<=\w)\s?%", " percent"),
    _rule(r"(?<!\w)@(?=\w)|(?<=\s)@(?=\s)", "at "),
    _rule(r"[©®™^\\|_~{}]+", " "),
    _rule(r"[^\S\n]+", " "),
    _rule(r" (?=[,.;:!?…](?:\s|$))", ""),
)
