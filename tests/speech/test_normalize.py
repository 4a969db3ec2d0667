"""What is written out, and what is left alone."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csm.speech import units
from csm.speech.normalize import normalize

MONEY = {
    "It costs $5.99.": "It costs five dollars and ninety-nine cents.",
    "$1,250,000": "one million two hundred and fifty thousand dollars",
    "$1 and $1.00 and $1.01": "one dollar and one dollar and one dollar and one cent",
    "$0.99": "ninety-nine cents",
    "-$5.50": "minus five dollars and fifty cents",
    "$3.5 billion, $10M, $5k": "three point five billion dollars, ten million dollars, five thousand dollars",
    "£20 or €15.50": "twenty pounds or fifteen euros and fifty cents",
    "5€, 99¢, USD 20, 20 EUR": "five euros, ninety-nine cents, twenty US dollars, twenty euros",
    "¥500": "five hundred yen",
    "$5-10, $5-$10": "five to ten dollars, five to ten dollars",
    "$9.50/month": "nine dollars and fifty cents per month",
}
DATES = {
    "On 3/14/2024 we met.": "On March fourteenth, twenty twenty-four we met.",
    "25/12/2023": "December twenty-fifth, twenty twenty-three",
    "14.03.2024": "March fourteenth, twenty twenty-four",
    "2024-03-14": "March fourteenth, twenty twenty-four",
    "2024-03-14T10:30:00Z": "March fourteenth, twenty twenty-four ten thirty",
    "March 3rd, 1999 was dry.": "March third, nineteen ninety-nine was dry.",
    "Jan. 5 to Feb 3": "January fifth to February third",
    "on 4 July 1776": "on the fourth of July, seventeen seventy-six",
    "the 3rd of March": "the third of March",
    "In May 2008, Sept. 2021": "In May two thousand and eight, September twenty twenty-one",
    "14-Mar-2024": "the fourteenth of March, twenty twenty-four",
    "the 1990s, the '80s, 1905": "the nineteen nineties, the eighties, nineteen oh-five",
    "1999–2003": "nineteen ninety-nine to two thousand and three",
    "13/32/2024": "thirteen slash thirty-two slash twenty twenty-four",
}
TIMES = {
    "At 3:30pm or 15:45.": "At three thirty PM or fifteen forty-five.",
    "10:00 and 9:05": "ten o'clock and nine oh five",
    "12:00 AM, 7am": "twelve AM, seven AM",
    "He left at 5 p.m. Then he slept.": "He left at five PM. Then he slept.",
    "at 5 p.m. yesterday": "at five PM yesterday",
    "at 9 a.m. EST": "at nine AM EST",
    "a 16:9 screen": "a sixteen to nine screen",
}
PHONES = {
    "555-123-4567": "five five five, one two three, four five six seven",
    "(555) 123-4567": "five five five, one two three, four five six seven",
    "+1 (212) 555-0199": "plus one, two one two, five five five, zero one nine nine",
    "020 7946 0958": "zero two zero, seven nine four six, zero nine five eight",
    "Call 911": "Call nine one one",
    "4111 1111 1111 1111": "four one one one, one one one one, one one one one, one one one one",
    "123-45-6789": "one two three, four five, six seven eight nine",
}
UNITS = {
    "5 kg and 180cm at 20°C": "five kilograms and one hundred and eighty centimeters at twenty degrees Celsius",
    "1 kg, a 5-km run": "one kilogram, a five kilometer run",
    "5-10 kg, ~5%, ±3°": "five to ten kilograms, about five percent, plus or minus three degrees",
    "60 mph, 5 GHz, 16GB": "sixty miles per hour, five gigahertz, sixteen gigabytes",
    "10 mg/kg": "ten milligrams per kilogram",
    "5 m², 7 sq ft": "five square meters, seven square feet",
    "10 lbs. of 3 oz. each": "ten pounds of three ounces each",
    "6'2\" tall": "six foot two tall",
    "100s or 1,000s of people, 2x faster": "hundreds or thousands of people, two times faster",
    "5k steps, 2M users": "five thousand steps, two million users",
    "I came 5 in the race, a 4K video": "I came five in the race, a four K video",
}
NUMBERS = {
    "1,234,567.89": "one million two hundred and thirty-four thousand five hundred and sixty-seven point eight nine",
    "-5, .5, 0.50": "minus five, point five, zero point five zero",
    "007": "zero zero seven",
    "12345678901234567": "one two three four five six seven eight nine zero one two three four five six seven",
    "the 21st, the 1,000th": "the twenty-first, the one thousandth",
    "1/2 cup, 3/4, 3½, 2 1/3": "one half cup, three quarters, three and a half, two and a third",
    "24/7, 50/50, 9/11, 7/3": "twenty-four seven, fifty fifty, nine eleven, seven over three",
    "1,00 and 8 ÷ 2 = 4": "one, zero zero and eight divided by two equals four",
    "Pages 10-20, 5–7 days": "Pages ten to twenty, five to seven days",
    "3 x 4 = 12, 10 - 3 = 7, 1920x1080": "three times four equals twelve, ten minus three equals seven, "
    "nineteen twenty by one thousand and eighty",
    "v1.2.3, 192.168.1.1": "version one point two point three, "
    "one hundred and ninety-two dot one hundred and sixty-eight dot one dot one",
    "H100, GPT-4o, COVID-19, 3D, B2B": "H one hundred, GPT four o, COVID nineteen, three D, B two B",
    "BA2490, Llama-3.1-8B": "BA two four nine zero, Llama three point one eight B",
    "x^2, 10², y³, 1e-5": "x squared, ten squared, y cubed, one times ten to the minus five",
    "No. 5, #1": "number five, number one",
}
SYMBOLS = {
    "R&D, salt & pepper": "R and D, salt and pepper",
    "a+b, a = b, x <= y, y ≥ z": "a plus b, a equals b, x is at most y, y is at least z",
    "5 < 6, b > a, A → B": "five is less than six, b is greater than a, A to B",
    "approx. x% of Acme™.": "approximately x percent of Acme.",
    "@alice and #python": "at alice and hashtag python",
    "e.g. this, i.e. that, cats vs. dogs, etc.": "for example, this, that is, that, cats versus dogs, et cetera.",
    "foo_bar | ™": "foo bar ",
}
UNTOUCHED = [
    "Dr. Smith met Mr. O'Brien, Ph.D., in the U.S.",
    "“Well,” she said — ‘no’… Rock 'n' roll!",
    "C++ and C# (and/or F#), isn't it?",
    "One two three. May I? I may march in august company.",
    "Crème brûlée, São Paulo, naïve",
]
CASES = [pair for table in (MONEY, DATES, TIMES, PHONES, UNITS, NUMBERS, SYMBOLS) for pair in table.items()]


@pytest.mark.parametrize(("written", "spoken"), CASES, ids=[written for written, _ in CASES])
def test_what_is_read_aloud(written, spoken):
    assert normalize(written) == spoken


@pytest.mark.parametrize(("unit", "names"), units.UNITS.items(), ids=units.UNITS)
def test_every_unit_is_read(unit, names):
    assert normalize(f"It is 1{unit} or 5.5{unit}.") == f"It is one {names[0]} or five point five {names[1]}."


@pytest.mark.parametrize(("sign", "names"), units.CURRENCIES.items(), ids=units.CURRENCIES)
def test_every_currency_is_read(sign, names):
    one, many, cent, cents = names
    assert normalize(f"{sign}1, {sign}20, 20 {sign}") == f"one {one}, twenty {many}, twenty {many}"
    if cent:
        spoken = f"one {one} and one {cent}, two {many} and twenty {cents}, fifty {cents}"
        assert normalize(f"{sign}1.01, {sign}2.20, {sign}0.50") == spoken


@pytest.mark.parametrize("text", UNTOUCHED)
def test_plain_words_are_left_alone(text):
    assert normalize(text) == text


@pytest.mark.parametrize("written", [written for written, _ in CASES])
def test_nothing_is_left_to_write_out(written):
    once = normalize(written)
    assert not any(character in once for character in "0123456789$€£%&")
    assert normalize(once) == once


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("0129.,:/-+ $%()'kmxMay 5'\"#&\n²½"), max_size=200))
def test_any_mixture_is_read_without_digits_or_errors(text):
    assert not any(character in "0123456789" for character in normalize(text))


@given(st.text(alphabet=st.characters(categories=["L"]) | st.just(" "), max_size=300))
def test_letters_are_never_lost(text):
    assert "".join(normalize(text).split()) == "".join(text.split())


@pytest.mark.parametrize("unit", ["1", "1,", "1-", "1/", "1:", "$1", "1 1/", "0 0", "a1", "May 1 ", "€1-", "½", "("])
def test_hostile_texts_are_read_at_once(unit):
    text = (unit * 10_000)[:10_000]
    started = time.perf_counter()
    spoken = normalize(text)
    print(f"{unit!r}: {len(spoken)} characters in {1000 * (time.perf_counter() - started):.0f} ms")
    assert not any(character in "0123456789" for character in spoken)
