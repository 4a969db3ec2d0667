"""The decoder alone, on codes made once: they belong to the samples beside them, and nothing else learns."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from recipes.demo_model import coded, pairs, phonemes, phonetic, speech
from recipes.demo_model.architecture import SAMPLES_PER_FRAME, CodecSize
from recipes.demo_model.codec_trainer import CodecTrainer, Plan
from recipes.demo_model.quantiser import quantise
from recipes.demo_model.recordings import NONE, Recording, Variety
from recipes.demo_model.resize import new_codec
from recipes.demo_model.training import seed_step

CPU = torch.device("cpu")
SIZE = CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=3, codes=16, code_width=8)
FRAMES = 4


def _codec() -> torch.nn.Module:
    codec = new_codec(0, SIZE).train()
    with torch.no_grad():
        quantise(codec, codec.encoder(torch.randn(1, 1, 1920 * 64) * 0.3).latents, dropout=0.0)
    return codec.eval()


def _clips() -> list[Recording]:
    pitches_and_lengths = ((0.04, 3000), (0.06, 20_000), (0.09, 12_345))
    return [
        Recording(np.sin(np.arange(length, dtype=np.float32) * pitch) * 0.4) for pitch, length in pitches_and_lengths
    ]


def test_codes_are_those_of_the_samples_beside_them() -> None:
    codec = _codec()
    rows = coded.encode(codec, _clips(), 1, FRAMES, NONE, seed=0)
    assert rows["frames"].tolist() == [FRAMES, 11, 7]
    sounds, whole = coded.CodedSounds(**rows, device=CPU), []
    for clip in _clips():
        frames = max(FRAMES, -(-len(clip.samples) // SAMPLES_PER_FRAME))
        padded = np.pad(clip.samples, (0, frames * SAMPLES_PER_FRAME - len(clip.samples)))
        with torch.no_grad():
            codes = codec.encode(torch.from_numpy(padded)[None, None]).audio_codes[0]  # type: ignore[operator]
        whole += [
            (padded[frame * SAMPLES_PER_FRAME : (frame + FRAMES) * SAMPLES_PER_FRAME], codes[:, frame : frame + FRAMES])
            for frame in range(codes.shape[1] - FRAMES + 1)
        ]
    found = set()
    for step in range(20):
        seed_step(0, step)
        drawn = sounds.draw(4, FRAMES, NONE)
        assert drawn.codes is not None and drawn.labels is None
        for samples, codes in zip(drawn.samples.numpy(), drawn.codes, strict=True):
            place = int(np.argmin([np.abs(samples - one[: samples.size]).max() for one, _ in whole]))
            found.add(place)
            assert np.abs(samples - whole[place][0]).max() < 1e-4
            assert torch.equal(codes, whole[place][1])
    assert len(found) == len(whole)


def test_copies_differ_in_speed_and_loudness() -> None:
    variety = Variety(share=1.0, speeds=(0.8, 1.25), decibels=(-9.0, 0.0))
    rows = coded.encode(_codec(), [Recording(np.full(60_000, 0.5, np.float32))], 6, FRAMES, variety, seed=0)
    assert len(set(rows["frames"].tolist())) > 3
    firsts = rows["samples"].view(-1, SAMPLES_PER_FRAME)[rows["frames"].cumsum(0) - rows["frames"]]
    assert len(set(firsts.float().median(1).values.tolist())) > 3


def test_only_the_decoder_learns_from_codes() -> None:
    codec = _codec()
    rows = coded.encode(codec, _clips(), 1, FRAMES, NONE, seed=0)
    trainer = CodecTrainer(codec, Plan(batch=3, frames=FRAMES, steps=40, peak=3e-3, encoder_steps=0), CPU)
    before = {name: value.clone() for name, value in trainer.codec.state_dict().items()}
    losses = [trainer.step(step, coded.CodedSounds(**rows, device=CPU))["spectral"].item() for step in range(40)]
    changed = {name for name, value in trainer.codec.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("decoder.") for name in changed)
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


def test_what_was_encoded_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recipes.demo_model.coded.speech.read_training", lambda _: ["a", "b"])
    monkeypatch.setattr("recipes.demo_model.coded.recordings.load", lambda _: _clips()[1])
    options = (2, FRAMES, NONE, 0)
    first = coded.encoded_once(tmp_path / "codes.pt", _codec(), [], *options)
    monkeypatch.delattr(coded, "encode")
    again = coded.encoded_once(tmp_path / "codes.pt", _codec(), [], *options)
    assert len(first["frames"]) == 4 and all(torch.equal(first[name], again[name]) for name in first)


def test_a_phonetic_codec_gets_the_samples_of_the_monotone_and_the_codes_of_the_original(tmp_path: Path) -> None:
    codec = new_codec(0, CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=3, codes=64))
    pairs.install(codec)
    time = np.arange(SAMPLES_PER_FRAME * 10, dtype=np.float32)
    sound, flat = 0.7 * np.sin(time / 7), 0.7 * np.sin(time / 9)
    soundfile.write(tmp_path / "a.flac", sound, 24_000)
    soundfile.write(tmp_path / "flat.flac", flat, 24_000)
    entry = {"file": "a.flac", "text": "a", "speaker": "one", "seconds": 0.8, "phonemes": "ab"}
    entry |= {"durations": [8, 8, 8, 8]}
    (tmp_path / "index.jsonl").write_text(json.dumps(entry))
    options = (1, FRAMES, Variety(share=1.0), 0)
    with pytest.raises(ValueError, match="flatten"):
        coded.encoded_once(tmp_path / "codes.pt", codec.eval(), [tmp_path], *options)
    (tmp_path / "index.jsonl").write_text(json.dumps(entry | {"monotone": "flat.flac", "pitch": 125.0}))
    rows = coded.encoded_once(tmp_path / "codes.pt", codec.eval(), [tmp_path], *options)
    [sentence] = speech.read_training([tmp_path])
    drawn = coded.CodedSounds(**rows, device=CPU).draw(3, 10, NONE)
    assert drawn.labels is not None
    said = pairs.labels(phonemes.timeline("ab", (8, 8, 8, 8)), 10).ravel()
    assert drawn.labels[0].ravel().tolist() == [phonemes.SILENCE, *said[:-1]], "the audio is a label later"
    assert np.abs(rows["samples"].numpy() / 32767 - speech.load_monotone(sentence)).max() < 1e-4
    line = phonemes.timeline("ab", (8, 8, 8, 8))
    assert torch.equal(rows["codes"].long(), phonetic.encode(codec, speech.load(sentence), line)[0])


def test_all_sentences_of_a_speaker_have_one_voice(tmp_path: Path) -> None:
    codec = new_codec(0, CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=2, codes=64))
    pairs.install(codec)
    rng, entries = np.random.default_rng(0), []
    for number in range(12):
        for name in (f"{number}.flac", f"flat{number}.flac"):
            soundfile.write(tmp_path / name, rng.uniform(-0.5, 0.5, SAMPLES_PER_FRAME * 6), 24_000)
        entries.append(
            {"file": f"{number}.flac", "monotone": f"flat{number}.flac", "pitch": 100.0 + 25 * (number % 2)}
            | {"text": "a", "speaker": f"{number % 2}", "seconds": 0.5, "phonemes": "ab", "durations": [5, 5, 5, 5]}
        )
    (tmp_path / "index.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    rows = coded.encode_phonetically(codec.eval(), speech.read_training([tmp_path]), FRAMES)
    voices = rows["codes"][:, 1].view(12, 6)
    assert all(len(voices[which::2].unique()) == 1 for which in (0, 1))
    table = tmp_path / phonetic.VOICES
    table.write_text(json.dumps({"0": 7, "1": 3, "2": 5}))
    rows = coded.encode_phonetically(codec, speech.read_training([tmp_path]), FRAMES, table)
    assert rows["codes"][:, 1].view(12, 6)[:, 0].tolist() == [7, 3] * 6
    table.write_text(json.dumps({"0": 7}))
    with pytest.raises(ValueError, match=r"1 has no code in voices\.json"):
        coded.encode_phonetically(codec, speech.read_training([tmp_path]), FRAMES, table)
