import pytest

from benchmarks import endings
from csm.settings import load


def test_there_are_200_texts():
    assert len(set(endings.texts())) == 200


def test_shares_are_those_of_all_texts():
    assert endings.shares(["stop", "repeat", "stop", "length"]) == "50.0% | 0.0% | 25.0% | 25.0%"


@pytest.mark.slow
def test_prints_the_shares_with_and_without_the_rules(tiny, capsys):
    settings = load(None, model=str(tiny()), device="cpu", precision="float32")
    endings.measure(settings, ["One.", "Two."], max_seconds=0.4)
    ruled, free = capsys.readouterr().out.splitlines()[-2:]
    assert ruled.startswith("| with the rules | ")
    # A model with random weights does not end by itself.
    assert free == "| without, at most 0.4 s | 0.0% | 0.0% | 100.0% | 0.0% | |"
