"""A codec learns between the convolutions of its teacher, which stay as they are."""

from dataclasses import replace
from pathlib import Path

import torch

from recipes.demo_model import pairs, phonetic
from recipes.demo_model.architecture import CodecSize
from recipes.demo_model.distil import Distiller, Plan
from recipes.demo_model.export import load_codec, save_codec
from recipes.demo_model.resize import deepened, new_codec
from recipes.demo_model.signals import Signals

SIZE = CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=3, codes=64, code_width=8)


def _signals(folder: Path) -> Signals:
    """Two utterances, the second shorter than an excerpt; what comes out follows from the phoneme."""
    torch.manual_seed(0)
    frames = torch.tensor([30, 3])
    codes = (1 + torch.randperm(63)[:33]).short()
    after = torch.randn(64, 16)[codes.long().repeat_interleave(2)]
    before, speakers = torch.randn(66, 16).half(), torch.tensor([0, 0])
    torch.save(
        {"before": before, "after": after.half(), "codes": codes, "frames": frames, "speakers": speakers}
        | {"pitches": torch.tensor([100.0, 150.0]), "names": ["ann"]},
        folder / "a.pt",
    )
    return Signals([folder / "a.pt"])


def test_excerpts_belong_together_and_stay_in_their_utterance(tmp_path: Path) -> None:
    signals = _signals(tmp_path)
    torch.manual_seed(1)
    places = signals.draw(50, 4)
    before, after, another = signals.before[places.latents], signals.after[places.latents], signals.before[places.heard]
    codes = signals.codes[places.frames]
    assert before.shape == (50, 8, 16) and after.shape == (50, 8, 16) and codes.shape == (50, 4)
    assert another.shape == before.shape and not torch.equal(another, before)
    ends = {tuple(row) for row in codes.tolist()} & {(*signals.codes[30:].tolist(), int(signals.codes[32]))}
    assert ends, "the short utterance is drawn, and its last frame is repeated"
    for row, fine in zip(codes, before, strict=True):
        place = next(n for n in range(33) if torch.equal(signals.codes[n : n + 2], row[:2]))
        assert torch.equal(fine[:4], signals.before[2 * place : 2 * place + 4])


def test_a_deeper_codec_decodes_almost_the_same() -> None:
    codec, sound = new_codec(0, SIZE), torch.randn(1, 1, 1920 * 4, generator=torch.Generator().manual_seed(0))
    deeper = deepened(codec, 3)
    assert deeper.config.num_hidden_layers == 3
    with torch.inference_mode():
        latents = codec.encoder(sound).latents
        torch.testing.assert_close(deeper.encoder(sound).latents, latents, rtol=0.1, atol=0.1 * float(latents.std()))


def test_what_follows_from_phonemes_is_learnt_without_touching_the_convolutions(tmp_path: Path) -> None:
    codec = deepened(new_codec(0, SIZE), 2)
    pairs.install(codec)
    convolutions = [codec.encoder.encoder_seanet, codec.decoder.decoder_seanet]
    before = [value.clone() for part in convolutions for value in part.state_dict().values()]
    distiller = Distiller(codec, Plan(batch=8, frames=8, steps=80, peak=1e-2), torch.device("cpu"))
    signals = _signals(tmp_path)
    losses = [distiller.step(step, signals)["apart"].item() for step in range(80)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert all(
        torch.equal(value, old)
        for value, old in zip(
            (value for part in convolutions for value in part.state_dict().values()), before, strict=True
        )
    )
    saved, now = distiller.saved(), distiller.codec
    assert pairs.installed(saved)
    stack = "acoustic_residual_vector_quantizer"
    for ours, theirs in zip(getattr(saved.quantizer, stack).layers, getattr(now.quantizer, stack).layers, strict=True):
        assert torch.equal(ours.codebook.embed_sum, theirs.codebook.embed_sum)


def _of_three(tmp_path: Path, **names: list[str]) -> Signals:
    """Three utterances by two speakers in each file."""
    frames, speakers = torch.tensor([4, 4, 4]), torch.tensor([0, 1, 0])
    before = torch.arange(24).repeat_interleave(16).view(24, 16).half()
    rows = {"before": before, "after": before, "codes": torch.ones(12, dtype=torch.int16), "frames": frames}
    for name, known in names.items():
        torch.save(rows | {"speakers": speakers, "pitches": torch.full((3,), 100.0), "names": known}, tmp_path / name)
    return Signals([tmp_path / name for name in names])


def test_speakers_are_the_same_in_all_files(tmp_path: Path) -> None:
    signals = _of_three(tmp_path, a=["ann", "bob"], b=["eve", "ann"])
    assert signals.names == ["ann", "bob", "eve"]
    assert signals.speakers.tolist() == [0, 1, 0, 2, 0, 2]


def test_the_decoder_speaks_in_the_codes_that_speakers_have_been_given(tmp_path: Path) -> None:
    signals, codec = _of_three(tmp_path, a=["ann", "bob"], b=["eve", "ann"]), new_codec(0, replace(SIZE, codebooks=2))
    codebook = codec.quantizer.acoustic_residual_vector_quantizer.layers[0].codebook
    torch.nn.init.normal_(codebook.embed_sum)
    distiller = Distiller(codec, Plan(encoder_steps=0), torch.device("cpu"), {"ann": 5, "bob": 9, "eve": 2, "joe": 1})
    voices = distiller._all_voices(signals)
    assert phonetic.voice_codes(codec, voices).tolist() == [[5], [9], [5], [2], [5], [2]]
    vectors = phonetic.say(codec, torch.zeros(6, 3, dtype=torch.long), voices, disturb=False)
    assert torch.equal(vectors[0], vectors[2]) and not torch.equal(vectors[0], vectors[1])


def test_the_voice_comes_from_any_utterance_by_the_same_speaker(tmp_path: Path) -> None:
    signals = _of_three(tmp_path, a=["ann", "bob"], b=["eve", "joe"])
    assert signals.speakers.tolist() == [0, 1, 0, 2, 3, 2]
    torch.manual_seed(0)
    places = signals.draw(200, 4)
    said, voices = places.latents[:, 0] // 8, places.heard[:, 0] // 8
    assert torch.equal(voices, places.voices)
    seen = set(zip((said % 3).tolist(), (voices % 3).tolist(), strict=True))
    assert torch.equal(said // 3, voices // 3)
    assert seen == {(0, 0), (0, 2), (2, 0), (2, 2), (1, 1)}


def test_when_the_codes_are_final_only_the_decoder_learns(tmp_path: Path) -> None:
    codec = deepened(new_codec(0, SIZE), 2)
    pairs.install(codec)
    distiller = Distiller(codec, Plan(batch=8, frames=8, steps=80, encoder_steps=10, peak=1e-2), torch.device("cpu"))
    signals = _signals(tmp_path)
    early = [distiller.step(step, signals)["apart"].item() for step in range(10)]
    sound = torch.randn(2, 1, 1920 * 6, generator=torch.Generator().manual_seed(0))
    save_codec(distiller.saved(), tmp_path / "weights")
    frozen = load_codec(tmp_path / "weights").encode(sound).audio_codes
    losses = [distiller.step(step, signals) for step in range(10, 80)]
    assert all(set(one) == {"apart"} for one in losses)
    assert sum(one["apart"].item() for one in losses[-5:]) / 5 < 0.8 * early[-1]
    save_codec(distiller.saved(), tmp_path / "weights")
    assert torch.equal(load_codec(tmp_path / "weights").encode(sound).audio_codes, frozen)
