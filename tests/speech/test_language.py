"""Text that is not English is told, and English with foreign names, code and numbers is not."""

import logging
import tempfile

import pytest

from csm.speech.language import Language, LanguageDetector

FOREIGN = {
    "de": ["Guten Morgen, wie geht es dir heute?", "Das Wetter ist schön.", "Wo ist der Bahnhof?"],
    "fr": ["Bonjour, comment allez-vous aujourd'hui ?", "Je voudrais un café.", "Où est la gare ?"],
    "es": ["Buenos días, ¿cómo estás hoy?", "Quiero una cerveza por favor.", "Hace buen tiempo."],
    "it": ["Buongiorno, come stai oggi?", "Vorrei un caffè per favore."],
    "pt": ["Bom dia, como você está hoje?", "Eu queria uma cerveja."],
    "nl": ["Goedemorgen, hoe gaat het vandaag met je?", "Ik wil graag een biertje."],
    "pl": ["Dzień dobry, jak się masz?", "Chciałbym piwo."],
    "sv": ["God morgon, hur mår du idag?", "Tack så mycket"],
    "da": ["God morgen, hvordan har du det i dag?"],
    "fi": ["Hyvää huomenta, mitä kuuluu?"],
    "tr": ["Günaydın, bugün nasılsın?"],
    "cs": ["Dobré ráno, jak se dnes máš?"],
    "ro": ["Bună dimineața, ce mai faci astăzi?"],
    "hu": ["Jó reggelt, hogy vagy ma?"],
    "vi": ["Chào buổi sáng, hôm nay bạn thế nào?"],
    "id": ["Selamat pagi, apa kabar hari ini?"],
    "ru": ["Доброе утро, как дела?", "Да."],
    "zh": ["早上好，你今天怎么样？"],
    "ja": ["おはようございます、お元気ですか？"],
    "ko": ["안녕하세요"],
    "ar": ["صباح الخير"],
    "hi": ["सुप्रभात, आप कैसे हैं?"],
    "el": ["Καλημέρα"],
    "he": ["בוקר טוב"],
    "th": ["สวัสดีตอนเช้า"],
}
ENGLISH = [
    "Yes.", "OK", "Hi Bob", "No!", "Hello there.", "Hmm... uh, well.", "Vamos!", "1234567890", "...", "",
    "The quick brown fox jumps over the lazy dog.",
    "José and François met Müller in São Paulo.",
    "Angela Merkel, Emmanuel Macron, Giorgia Meloni.",
    "Zoë Kravitz, Björk, Beyoncé, Penélope Cruz",
    "Pizza margherita, spaghetti carbonara",
    "Crème brûlée, pâté, café au lait: she ordered it all.",
    "Schadenfreude is a German word, and so is Weltschmerz.",
    "He said 'c'est la vie' and left the room.",
    "Que sera, sera, whatever will be, will be.",
    "Turn left at Rue de Rivoli, then right at Boulevard Saint-Germain.",
    "Tokyo, Osaka, Kyoto", "Las Vegas, Los Angeles, San Francisco, San Diego", "Barcelona beat Real Madrid 3-1.",
    "def foo(x): return x + 1", "SELECT * FROM users WHERE id = 5;", "const x = await fetch(url); return x.json();",
    "git commit -m 'fix: bug' && git push origin main", "ERROR: NullPointerException at line 42",
    "CUDA GPU RTX 4090 VRAM 24GB", "$5.99 for 3 kg", "Read README.md at https://example.com/docs",
    "The symbol π is about 3.14, and Ω is the resistance.",
    "Вова is a Russian name written in Cyrillic letters.",
    "gonna wanna kinda sorta", "lol that's so funny omg", "Merry Christmas",
    "550e8400-e29b-41d4-a716-446655440000 6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "Read https://www.example.fr/politique/le-gouvernement-est-dans-la-rue-pour-les-elections-de-la-ville",
    "aaaa", "Ho ho ho ho!", "Ha ha, ha ha ha",
]  # fmt: skip


@pytest.fixture(scope="module")
def detector():
    return LanguageDetector()


@pytest.mark.parametrize(("code", "text"), [(code, text) for code, texts in FOREIGN.items() for text in texts])
def test_other_languages_are_told(detector, code, text):
    found = detector.detect(text)
    assert not found.is_english
    # "Да." is too short to tell Russian from its neighbours.
    assert found.code == code or text == "Да."
    assert 0 < found.confidence <= 1


@pytest.mark.parametrize("text", ENGLISH)
def test_english_is_not_suspected(detector, text):
    assert detector.detect(text).is_english


def test_an_english_text_with_a_foreign_sentence_is_english(detector):
    text = "She looked at him for a while, and then she said what she had come to say. " * 5
    assert detector.detect(text + "Ich möchte jetzt nach Hause gehen, bitte.").is_english
    assert detector.detect("Ich möchte jetzt nach Hause gehen, bitte. " * 5 + "Thank you.").code == "de"


def test_without_a_place_for_temporary_files_the_script_is_still_told(monkeypatch, caplog):
    def refuse(*_, **__):
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with caplog.at_level(logging.WARNING):
        detector = LanguageDetector()
    assert "only for its script" in caplog.text
    assert detector.detect("Guten Morgen, wie geht es dir heute?") == Language("en", 0.0)
    assert detector.detect("Доброе утро, как дела?") == Language("und", 1.0)
