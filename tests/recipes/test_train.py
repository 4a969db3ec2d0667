"""The model stage at toy size: its prompt is the processor's, the loss falls, a resumed run equals an unbroken one."""

import copy
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, CsmForConditionalGeneration

from recipes.demo_model import model_trainer, tokens
from recipes.demo_model.batches import Batches, Draws
from recipes.demo_model.dialogue import NOTHING, Batch, Corpus, Diet, collate, split
from recipes.demo_model.export import amplify, export, facts_of, load_codec, load_to_train, temper
from recipes.demo_model.initialise import initialise, with_codec
from recipes.demo_model.model_trainer import Plan, Trainer, embed, importance
from recipes.demo_model.progress import Progress
from recipes.demo_model.resize import new_codec, with_codebooks
from recipes.demo_model.tokenizer import make_processor, make_tokenizer
from recipes.demo_model.tokens import ANYONE, Spoken
from recipes.demo_model.train import train
from recipes.demo_model.training import randomness
from tests import tiny_checkpoints
from tests.paths import ROOT

CPU = torch.device("cpu")


def _spoken(speakers: int = 2, codebooks: int = 4) -> list[Spoken]:
    """Four short sentences each; a speaker's codes are all near one number."""
    rng = np.random.default_rng(0)
    return [
        _say(f"Text {line}.", f"speaker {who}", 10 * who + rng.integers(1, 5, (6 + line, codebooks)))
        for who in range(speakers)
        for line in range(4)
    ]


def _say(text: str, speaker: str, codes: np.ndarray) -> Spoken:
    """All letters take the same time."""
    places = np.linspace(0, len(text) - 1, len(codes)).astype(np.int16)
    return Spoken(text, speaker, codes.astype(np.int16), codes.astype(np.int16), places)


def _trainer(steps: int) -> Trainer:
    return Trainer(tiny_checkpoints.make(), Plan(batch=4, steps=steps, peak=5e-3), CPU)


def _batches(corpus: Corpus, steps: int) -> Batches:
    return Batches(Draws(corpus, count=4, steps=steps, seed=0))


def test_rows_embed_to_what_the_processors_prompt_embeds_to() -> None:
    model, processor = tiny_checkpoints.make(), make_processor()
    sounds = torch.randn(2, 1920 * 5, generator=torch.Generator().manual_seed(0)) * 0.1
    texts = ("What was heard.", "What is said.")
    turns = [
        {"role": "0", "content": [{"type": "text", "text": text}, {"type": "audio", "path": sound.numpy()}]}
        for text, sound in zip(texts, sounds, strict=True)
    ]
    prompt = processor.apply_chat_template(turns, tokenize=True, return_dict=True)
    codes = [model.codec_model.encode(sound[None, None]).audio_codes[0].T.numpy().astype(np.int16) for sound in sounds]
    spoken = [_say(text, "one", code) for text, code in zip(texts, codes, strict=True)]
    corpus = Corpus(spoken, make_tokenizer(), Diet(references=(1, 1), alone=(0.0, 0.0), untold=0.0))
    rows = torch.from_numpy(corpus.example(1, 0.0, randomness(0, 0)).rows)
    with torch.no_grad():
        theirs = model._merge_input_ids_with_input_values(
            prompt["input_ids"], prompt["input_values"], prompt["input_values_cutoffs"]
        )["inputs_embeds"]
        ours = embed(model, rows[None])
    torch.testing.assert_close(ours, theirs)


def test_the_depth_decoder_sees_some_frames_and_every_end() -> None:
    corpus = Corpus(_spoken(), make_tokenizer(), Diet(alone=(0.0, 0.0), continued=0.0))
    examples = [corpus.example(index, 0.5, randomness(0, index)) for index in range(4)]
    batch = collate(examples, depth_share=0.25, rng=randomness(0, 0))
    codes = batch.rows[..., :-1]
    audio, ends = codes[..., 0] != NOTHING, (codes == 0).all(-1)
    for_depth = torch.zeros_like(audio)
    for_depth[batch.frames[:, 0], batch.frames[:, 1]] = True
    assert ends.sum() == 8
    assert (for_depth & ends).sum() == 8
    assert not (for_depth & ~audio).any()
    assert 0 < (for_depth & ~ends).sum() < 0.5 * audio.sum()


@pytest.mark.parametrize("frames", [2, 3, 4])
def test_the_depth_decoder_never_gets_as_many_frames_as_there_are_codebooks(frames: int) -> None:
    spoken = [_say("Ab.", "one", np.full((frames, 4), line)) for line in (1, 2)]
    corpus = Corpus(spoken, make_tokenizer(), Diet(alone=(1.0, 1.0)))
    for share in (0.0, 0.5, 1.0):
        for draw in range(10):
            batch = collate([corpus.example(0, 1.0, randomness(draw, 0))], share, randomness(draw, 1))
            assert len(batch.frames) != 4


def test_losses_are_those_of_transformers_where_all_codebooks_weigh_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_trainer, "importance", lambda count, _: torch.full((count,), 1 / count))
    trainer = _trainer(1)
    batch = Corpus(_spoken(), make_tokenizer()).draw(4, 1.0, randomness(0, 0))
    labels = torch.full_like(batch.rows[..., :-1], -100)
    codes, (row, position) = batch.rows[..., :-1], batch.frames.unbind(1)
    labels[..., 0] = torch.where(codes[..., 0] == NOTHING, -100, codes[..., 0])
    labels[row, position] = codes[row, position]
    model = trainer.model.eval()
    with torch.no_grad():
        ours = trainer._losses(model, batch)
        theirs = model(inputs_embeds=embed(model, batch.rows), labels=labels, use_cache=False)
    torch.testing.assert_close(ours["backbone"], theirs.backbone_loss)
    torch.testing.assert_close(ours["depth"], theirs.depth_decoder_loss)


def test_the_first_codes_of_a_frame_weigh_the_most() -> None:
    torch.testing.assert_close(importance(3, torch.device("cpu")), torch.tensor([6.0, 3.0, 2.0]) / 11)


def test_every_sentence_is_as_likely_as_another() -> None:
    talkative = [_say(f"Text {line}.", "one", np.full((6, 4), 10)) for line in range(18)]
    silent = [_say(f"Text {line}.", "two", np.full((6, 4), 20)) for line in range(2)]
    corpus = Corpus(talkative + silent, make_tokenizer(), Diet(alone=(1.0, 1.0)))
    rows = torch.cat([corpus.draw(10, 1.0, randomness(0, draw)).rows[:, :, 0].amax(1) for draw in range(40)])
    assert 0.05 < (rows == 20).float().mean() < 0.16


def test_batches_drawn_ahead_are_those_drawn_at_once() -> None:
    """In a process of its own: within a worker of pytest-xdist, this has ended the worker twice."""
    script = "from tests.recipes.test_train import compare_drawn_ahead; compare_drawn_ahead()"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=200, check=True)


def compare_drawn_ahead() -> None:
    """Check that batches drawn by workers equal those drawn at once, in order and out of it."""
    corpus = Corpus(_spoken(), make_tokenizer())
    ahead = Batches(Draws(corpus, count=4, steps=9, seed=0), workers=1)
    for step in (3, 4, 1):
        ours, theirs = ahead.at(step), _batches(corpus, 9).at(step)
        assert torch.equal(ours.rows, theirs.rows) and torch.equal(ours.frames, theirs.frames)


def test_reference_and_target_are_of_one_speaker_and_differ() -> None:
    corpus = Corpus(_spoken(), make_tokenizer(), Diet(alone=(0.0, 0.0), continued=0.0))
    for draw in range(20):
        rows = corpus.example(draw % 8, 0.5, randomness(0, draw)).rows
        codes = rows[(rows[:, :-1] > 0).all(1)][:, 0]
        assert len({int(code) // 10 for code in codes}) == 1
        assert (rows[:, -1] == make_tokenizer().bos_token_id).sum() == 2


@pytest.mark.parametrize("continued", [0.0, 1.0])
def test_places_are_those_of_the_letters_of_the_next_frame(continued: float) -> None:
    """Up to three sentences make one turn, or several: the letters are found in the text of the turn."""
    tokenizer = make_tokenizer()
    diet = Diet(references=(3, 3), alone=(0.0, 0.0), continued=continued, untold=0.0)
    corpus = Corpus(_spoken(speakers=1), tokenizer, diet)
    turns = set()
    for draw in range(10):
        example = corpus.example(0, 1.0, randomness(0, draw))
        text, codes = example.rows[:, -1], example.rows[:, :-1]
        for position in np.flatnonzero(example.places != NOTHING):
            letter = tokenizer.decode(text[example.places[position]])
            following = codes[position + 1]
            assert (following != NOTHING).all()
            assert (letter == tokenizer.eos_token) == (following == 0).all()
        first_frames = np.flatnonzero(text[:-1] == tokenizer.eos_token_id)
        assert {tokenizer.decode(text[example.places[position]]) for position in first_frames} == {"t"}
        assert (example.places != NOTHING).sum() == (codes[:, 0] != NOTHING).sum()
        turns.add(len(first_frames))
    assert turns == ({2, 3, 4} if continued else {2})


def test_a_reference_may_have_no_transcript() -> None:
    tokenizer = make_tokenizer()
    corpus = Corpus(_spoken(), tokenizer, Diet(alone=(0.0, 0.0), continued=0.0, untold=1.0))
    for draw in range(5):
        example = corpus.example(0, 1.0, randomness(0, draw))
        text = example.rows[:, -1]
        reference, target = tokenizer.decode(text[text != NOTHING]).split(tokenizer.bos_token)[1:]
        assert reference == f"[0]{tokenizer.eos_token}" and target.startswith("[0]text")
        assert (example.rows[example.places[example.places != NOTHING], -1] != NOTHING).all()


def _with_voice(one: Spoken) -> np.ndarray:
    return np.stack([one.codes[:, 0], np.full(len(one.codes), int(one.codes[0, 0]) // 10)], 1)


def test_everything_but_the_reference_can_be_texts_that_nobody_has_spoken() -> None:
    spoken = [replace(one, codes=_with_voice(one), heard=_with_voice(one)) for one in _spoken()]
    unspoken = [replace(one, text=f"New {one.text}", speaker=ANYONE, codes=one.codes[:, :1]) for one in _spoken()]
    diet = Diet(references=(3, 3), alone=(0.0, 0.0), excerpts=0.0, unspoken=True)
    tokenizer = make_tokenizer()
    corpus = Corpus([*spoken, *unspoken], tokenizer, diet)
    for draw in range(10):
        (target,) = randomness(1, draw).choice(corpus.order, 1)
        rows = corpus.example(int(target), 1.0, randomness(0, draw)).rows
        reference, *said = tokenizer.decode(rows[:, -1][rows[:, -1] != NOTHING]).split(tokenizer.bos_token)[1:]
        assert "new" not in reference and all("new" in text for text in said)
        assert len({int(code) for code in rows[(rows[:, :-1] > 0).any(1)][:, 1]}) == 1
    with pytest.raises(ValueError, match="timings"):
        Corpus(spoken, tokenizer, diet)


def test_what_is_short_comes_first() -> None:
    corpus = Corpus(_spoken(), make_tokenizer(), Diet(references=(1, 3), alone=(0.9, 0.0)))
    lengths = []
    for progress in (0.0, 1.0):
        examples = [corpus.example(index % 8, progress, randomness(0, index)) for index in range(60)]
        lengths.append(np.mean([len(example.rows) for example in examples]))
    assert lengths[1] > 1.5 * lengths[0]


def test_targets_grow_longer() -> None:
    corpus = Corpus(_spoken(), make_tokenizer(), Diet(alone=(1.0, 1.0), max_frames=(6, 9)))
    lengths = []
    for progress in (0.0, 1.0):
        batches = [corpus.draw(8, progress, randomness(0, draw)) for draw in range(20)]
        lengths.append({int((rows[:, 0] > 0).sum()) for batch in batches for rows in batch.rows})
    assert lengths == [{6}, {6, 7, 8, 9}]


def _padding(batches: Iterable[Batch]) -> float:
    return float(np.mean([(batch.rows == NOTHING).all(-1).float().mean() for batch in batches]))


def test_batches_hold_what_is_of_like_length() -> None:
    corpus = Corpus(_spoken(), make_tokenizer(), Diet(alone=(0.5, 0.5)))
    drawn = [corpus.draw(4, 1.0, randomness(0, number)) for number in range(20)]
    mixed = [[corpus.example(one, 1.0, randomness(one, number)) for one in range(4)] for number in range(20)]
    assert _padding(drawn) < 0.5 * _padding(collate(examples, 1.0, randomness(0, 0)) for examples in mixed)


def test_a_corpus_without_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to clone from"):
        Corpus(_spoken()[:1], make_tokenizer())


@pytest.mark.slow
def test_loss_falls_on_a_toy_corpus() -> None:
    corpus, trainer = Corpus(_spoken(), make_tokenizer()), _trainer(60)
    before = trainer.validate(corpus)
    for step in range(60):
        trainer.step(step, _batches(corpus, trainer.plan.steps))
    after = trainer.validate(corpus)
    assert after["backbone"] < 0.6 * before["backbone"] and after["depth"] < 0.6 * before["depth"]


@pytest.mark.slow
def test_attention_learns_to_look_at_the_letter_being_spoken() -> None:
    rng, letters = np.random.default_rng(0), np.array(list("abcdefghijklmnop"))
    texts = ["".join(rng.permutation(letters)) for _ in range(8)]
    codes = [np.array([[ord(letter) - 96] * 4 for letter in text]) for text in texts]
    spoken = [_say(text, "one", one) for text, one in zip(texts, codes, strict=True)]
    corpus, trainer = Corpus(spoken, make_tokenizer(), Diet(alone=(1.0, 1.0))), _trainer(120)
    guides = [trainer.step(step, _batches(corpus, 120))["guide"].item() for step in range(120)]
    assert np.mean(guides[-5:]) < 0.5 * np.mean(guides[:5])


def test_the_codec_stays_as_it_was() -> None:
    corpus, trainer = Corpus(_spoken(), make_tokenizer()), _trainer(3)
    before = {name: value.clone() for name, value in trainer.model.codec_model.state_dict().items()}
    for step in range(3):
        trainer.step(step, _batches(corpus, trainer.plan.steps))
    assert all(torch.equal(before[name], value) for name, value in trainer.model.codec_model.state_dict().items())


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    corpus = Corpus(_spoken(), make_tokenizer())
    batches, codec = _batches(corpus, 6), tiny_checkpoints.make().codec_model
    whole, first, second = _trainer(6), _trainer(6), _trainer(6)
    train(whole, batches, corpus, codec, tmp_path / "whole", Progress(6, minutes=5))
    assert train(first, batches, None, codec, tmp_path / "parts", Progress(3, minutes=5)) == 3
    assert train(second, batches, None, codec, tmp_path / "parts", Progress(6, minutes=5)) == 6
    ours, theirs, stopped = (one.average.module.state_dict() for one in (whole, second, first))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert any(not torch.equal(ours[name], value) for name, value in stopped.items())


def test_export_round_trips_through_from_pretrained(tmp_path: Path) -> None:
    corpus, trainer = Corpus(_spoken(), make_tokenizer()), _trainer(3)
    trainer.step(0, _batches(corpus, 3))
    rows = corpus.draw(2, 1.0, randomness(0, 0)).rows
    model = trainer.model.eval()
    with torch.no_grad():
        before = model(inputs_embeds=embed(model, rows)).logits
    export(model, tmp_path, facts_of(model, trained=True, scores={"model": {"wer": 0.25}}))
    again = CsmForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        after = again(inputs_embeds=embed(again, rows)).logits
    torch.testing.assert_close(after, before, atol=0.02, rtol=0.02)
    assert AutoProcessor.from_pretrained(tmp_path).tokenizer.bos_token == "<|begin_of_text|>"
    assert again.depth_decoder.generation_config.max_new_tokens == 3
    assert "| wer | 0.25 |" in (tmp_path / "README.md").read_text()


@torch.no_grad()
def test_a_tempered_model_samples_at_its_default_as_it_did_at_a_lower_temperature() -> None:
    model = _trainer(3).model.eval()
    rows = Corpus(_spoken(), make_tokenizer()).draw(2, 1.0, randomness(0, 0)).rows
    before = model(inputs_embeds=embed(model, rows)).logits
    head = model.depth_decoder.codebooks_head.weight.clone()
    temper(model, 0.5, 0.2)
    torch.testing.assert_close(model(inputs_embeds=embed(model, rows)).logits / 0.9, before / 0.5)
    torch.testing.assert_close(model.depth_decoder.codebooks_head.weight / 0.9, head / 0.2)


def test_an_amplified_codec_decodes_louder() -> None:
    codec = _trainer(3).model.codec_model
    codes = torch.ones(1, codec.config.num_quantizers, 5, dtype=torch.long)
    before = codec.decode(codes).audio_values
    amplify(codec, 2.5)
    torch.testing.assert_close(codec.decode(codes).audio_values, 2.5 * before)


def test_training_goes_on_from_the_weights_before_they_were_tempered_and_amplified(tmp_path: Path) -> None:
    model = _trainer(3).model.eval()
    changed = (
        "lm_head.weight",
        "depth_decoder.codebooks_head.weight",
        "codec_model.decoder.decoder_seanet.layers.14.conv.weight",
    )
    before = {name: model.state_dict()[name].clone() for name in changed}
    temper(model, 0.3, 0.1)
    amplify(model.codec_model, 2.2)
    export(model, tmp_path, facts_of(model, True, {}, temperatures=(0.3, 0.1), gain=2.2))
    again = load_to_train(tmp_path).state_dict()
    for name in changed:
        torch.testing.assert_close(again[name], before[name], atol=2e-3, rtol=2e-3)  # float16
    codec = load_codec(tmp_path).state_dict()
    torch.testing.assert_close(codec[changed[2].removeprefix("codec_model.")], again[changed[2]])


def test_tokens_survive_the_disk(tmp_path: Path) -> None:
    tokens.write(tmp_path / "a.npz", _spoken())
    again = tokens.read([tmp_path / "a.npz", tmp_path / "a.npz"])
    assert len(again) == 16
    for ours, theirs in zip(_spoken() * 2, again, strict=True):
        assert (ours.text, ours.speaker) == (theirs.text, theirs.speaker)
        assert np.array_equal(ours.codes, theirs.codes)
        assert np.array_equal(ours.heard, theirs.heard)
        assert np.array_equal(ours.places, theirs.places)
    first = tokens.read([tmp_path / "a.npz"], codebooks=3)
    assert [one.codes.tolist() for one in first] == [one.codes[:, :3].tolist() for one in _spoken()]


@pytest.mark.parametrize("size", ["small", "untied"])
def test_codes_that_sound_alike_begin_alike(size: str) -> None:
    codec = tiny_checkpoints.make(tiny_checkpoints.SIZES[size]).codec_model
    model = initialise(codec, tiny_checkpoints.SIZES[size])
    codebooks = codec.config.num_quantizers
    tables = [model.backbone_model.embed_tokens.embed_audio_tokens, model.depth_decoder.model.embed_tokens]
    quantizer = codec.quantizer
    vectors = [quantizer.semantic_residual_vector_quantizer.layers[0].codebook.embed]
    vectors += [layer.codebook.embed for layer in quantizer.acoustic_residual_vector_quantizer.layers]
    for index in range(codebooks):
        of_index = [table.weight.view(codebooks, -1, table.weight.shape[1])[index] for table in tables]
        head = model.depth_decoder.codebooks_head.weight[index - 1].T if index else model.lm_head.weight
        apart = torch.pdist(vectors[index])
        for weights in (*of_index, head):
            assert torch.corrcoef(torch.stack([apart, torch.pdist(weights[: codec.config.codebook_size])]))[0, 1] > 0.5
            assert weights[: codec.config.codebook_size].std().item() == pytest.approx(
                model.config.initializer_range, rel=0.3
            )


@pytest.mark.parametrize("codebooks", [4, 3])
def test_another_codec_keeps_what_is_known_of_first_codes(tmp_path: Path, codebooks: int) -> None:
    trained = tiny_checkpoints.make()
    other = with_codebooks(new_codec(1, tiny_checkpoints.SIZES["small"].codec), codebooks)
    for codebook in (module for module in other.modules() if hasattr(module, "embed_sum")):
        codebook.embed_sum.normal_()
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    changed = with_codec(trained, other)
    export(changed, tmp_path, facts_of(changed, trained=True, scores={}))
    model = CsmForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
    codes = model.config.vocab_size
    table, old = (
        weights["backbone_model.embed_tokens.embed_audio_tokens.weight"] for weights in (model.state_dict(), before)
    )
    assert len(table) == codebooks * codes
    torch.testing.assert_close(table[:codes], old[:codes], atol=1e-3, rtol=0)
    assert not torch.allclose(table[codes : 2 * codes], old[codes : 2 * codes], atol=1e-3)
    torch.testing.assert_close(model.lm_head.weight, before["lm_head.weight"], atol=1e-3, rtol=0)
    sound = torch.randn(1, 1, 1920 * 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.codec_model.encode(sound).audio_codes, load_codec(tmp_path).encode(sound).audio_codes)
    assert model.depth_decoder.generation_config.max_new_tokens == codebooks - 1
    prompt = make_processor().apply_chat_template(
        [{"role": "0", "content": [{"type": "text", "text": "Ab."}]}], tokenize=True, return_dict=True
    )
    assert model.generate(**prompt, max_new_tokens=3).shape[-1] == codebooks


def test_a_codec_with_the_same_codes_keeps_all_that_is_known() -> None:
    trained = tiny_checkpoints.make()
    codec = copy.deepcopy(trained.codec_model)
    with torch.no_grad():
        next(codec.decoder.parameters()).add_(1)
    changed = with_codec(trained, codec).state_dict()
    for name, value in trained.state_dict().items():
        other = codec.state_dict()[name.removeprefix("codec_model.")] if name.startswith("codec_model.") else value
        assert torch.equal(changed[name], other), name


def test_a_codec_with_more_codebooks_is_refused() -> None:
    with pytest.raises(ValueError, match="codebooks"):
        with_codec(tiny_checkpoints.make(), new_codec(0))


def test_a_reference_has_the_codes_that_are_heard() -> None:
    places = np.zeros(3, np.int16)
    said = [
        Spoken("Ab.", "one", np.full((3, 4), number, np.int16), np.full((3, 4), number + 6, np.int16), places)
        for number in (1, 2)
    ]
    corpus = Corpus(said, make_tokenizer(), Diet(alone=(0.0, 0.0), references=(1, 1)))
    codes = corpus.example(1, 0.0, randomness(0, 0)).rows[:, :-1]
    frames = codes[(codes != NOTHING).all(1) & (codes != 0).any(1)].tolist()
    assert frames == [[7] * 4] * 3 + [[2] * 4] * 3


def test_validation_voices_are_new_and_always_the_same() -> None:
    spoken = _spoken(speakers=60)
    heard, unheard = split(spoken, share=0.2)
    assert len(heard) + len(unheard) == len(spoken) and heard and unheard
    assert {one.speaker for one in heard}.isdisjoint(one.speaker for one in unheard)
    assert split(spoken[::-1], share=0.2)[1] == unheard[::-1]
