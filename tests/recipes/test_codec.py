"""The codec stage at toy size: the quantiser is Mimi's, the loss falls, a resumed run equals one that never stopped."""

import os
import signal
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import MimiModel

from recipes.demo_model.architecture import CodecSize
from recipes.demo_model.codec import train
from recipes.demo_model.codec_trainer import CodecTrainer, Plan
from recipes.demo_model.export import forget_cached_codebooks, load_codec, save_codec
from recipes.demo_model.progress import Progress
from recipes.demo_model.quantiser import bypass, quantise
from recipes.demo_model.recordings import NONE, Recording
from recipes.demo_model.resize import new_codec
from recipes.demo_model.sounds import Sounds
from recipes.demo_model.training import learning_rate

SIZE = CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=3, codes=16, code_width=8)
CPU = torch.device("cpu")


def _tones() -> list[Recording]:
    """Three tones; each is a sound of its own."""
    time = np.arange(24_000, dtype=np.float32) / 24_000
    tones = [np.sin(2 * np.pi * pitch * time).astype(np.float32) * 0.5 for pitch in (150, 220, 330)]
    return [Recording(tone, np.full(40, sound)) for sound, tone in enumerate(tones)]


def _sounds() -> Sounds:
    return Sounds(_tones(), CPU)


def _trainer(steps: int, adversarial_from: int | None = None, encoder_steps: int | None = None) -> CodecTrainer:
    torch.manual_seed(0)
    plan = Plan(
        batch=3,
        frames=4,
        steps=steps,
        peak=3e-3,
        adversarial_from=adversarial_from,
        encoder_steps=encoder_steps,
        variety=NONE,
    )
    return CodecTrainer(new_codec(0, SIZE), plan, CPU)


def test_loss_falls_on_tones() -> None:
    trainer = _trainer(steps=60)
    validated, losses = [], []
    for step in range(60):
        losses.append(trainer.step(step, _sounds()))
        if step in (0, 59):
            validated.append(trainer.validate([Recording(tone.samples[: 4 * 1920]) for tone in _tones()]))
    for name in ("spectral", "sounds"):
        assert np.mean([loss[name].item() for loss in losses[-5:]]) < 0.75 * np.mean(
            [loss[name].item() for loss in losses[:5]]
        )
    assert validated[1] < 0.75 * validated[0]


def _copy(codec: MimiModel) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in codec.state_dict().items()}


def _changed(codec: MimiModel, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, value in codec.state_dict().items() if not torch.equal(value, before[name])}


def test_codes_are_final_when_the_encoder_has_had_its_steps() -> None:
    trainer = _trainer(steps=6, encoder_steps=2)
    start = _copy(trainer.codec)
    for step in range(2):
        trainer.step(step, _sounds())
    assert any(name.startswith("encoder.") for name in _changed(trainer.codec, start))
    settled = _copy(trainer.codec)
    for step in range(2, 6):  # the optimiser still remembers where the encoder was going
        trainer.step(step, _sounds())
    changed = _changed(trainer.codec, settled)
    assert changed and all(name.startswith("decoder.") for name in changed)


def test_an_encoder_without_steps_leaves_the_codes_as_they_are() -> None:
    trainer = _trainer(steps=4, adversarial_from=1, encoder_steps=0)
    trainer.validate(_tones())  # nothing in it may start the codebooks either
    for codebook in (module for module in trainer.codec.modules() if hasattr(module, "embed_sum")):
        codebook.embed_sum.normal_()
    before = _copy(trainer.codec)
    for step in range(4):
        trainer.step(step, _sounds())
    changed = _changed(trainer.codec, before)
    assert changed and all(name.startswith("decoder.") for name in changed)


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = _trainer(steps=6, adversarial_from=2)
    assert train(whole, _sounds(), _tones(), tmp_path / "whole", Progress(6, minutes=5)) == 6
    first = _trainer(steps=6, adversarial_from=2)
    assert train(first, _sounds(), [], tmp_path / "parts", Progress(3, minutes=5)) == 3
    second = _trainer(steps=6, adversarial_from=2)
    assert train(second, _sounds(), [], tmp_path / "parts", Progress(6, minutes=5)) == 6
    ours, theirs = whole.codec.state_dict(), second.codec.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert any(not torch.equal(ours[name], value) for name, value in first.codec.state_dict().items())


def terminate_at_the_first_report(folder: Path) -> None:
    """In a process of its own: a signal to a process that others' native threads live in is theirs to mishandle."""
    progress = Progress(50, minutes=5).stop_on_sigterm()
    report = progress.report

    def report_and_terminate(step: int, values: dict[str, torch.Tensor]) -> None:
        report(step, values)
        os.kill(os.getpid(), signal.SIGTERM)

    progress.report = report_and_terminate  # type: ignore[method-assign]
    assert train(_trainer(steps=50), _sounds(), [], folder, progress) == 1


@pytest.mark.slow
def test_sigterm_ends_a_run_after_the_present_step_with_a_checkpoint(tmp_path: Path) -> None:
    process = get_context("spawn").Process(target=terminate_at_the_first_report, args=(tmp_path,))
    process.start()
    process.join(timeout=120)
    assert process.exitcode == 0
    assert _trainer(steps=50).checkpoint(tmp_path / "state.pt").load() == 1


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    first, second = (_trainer(steps=1).checkpoint(tmp_path / "state.pt") for _ in range(2))
    with first, pytest.raises(BlockingIOError, match="another run"), second:
        pass
    with second:
        assert second.load() == 0


def test_quantiser_outside_training_is_mimis_own() -> None:
    trainer = _trainer(steps=5)
    for step in range(5):
        trainer.step(step, _sounds())
    codec = trainer.codec.eval()
    forget_cached_codebooks(codec)
    latents = torch.randn(2, SIZE.hidden, 7, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = quantise(codec, latents, dropout=0.0).heard
        theirs = codec.quantizer.decode(codec.quantizer.encode(latents).transpose(0, 1))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_gradient_passes_straight_through_the_codebooks() -> None:
    codec = new_codec(0, SIZE).train()
    latents = torch.randn(1, SIZE.hidden, 5, requires_grad=True)
    quantised = quantise(codec, latents, dropout=0.0).heard
    through = torch.autograd.grad(quantised.sum(), latents)[0]
    direct = torch.autograd.grad(bypass(codec, latents).sum(), latents)[0]
    torch.testing.assert_close(through, direct)


def test_codes_that_nobody_chooses_are_moved_to_where_vectors_are() -> None:
    codec = new_codec(0, SIZE).train()
    codebook = codec.quantizer.semantic_residual_vector_quantizer.layers[0].codebook
    codebook.embed_sum.fill_(1e3)
    codebook.cluster_usage.fill_(1e-3)
    latents = torch.randn(1, SIZE.hidden, 50)
    quantise(codec, latents, dropout=0.0)
    moved = codebook.embed_sum / codebook.cluster_usage[:, None]
    assert (moved.abs().amax(1) < 100).sum() >= SIZE.codes - 1


def test_saved_codec_sounds_like_the_trained_one(tmp_path: Path) -> None:
    trainer = _trainer(steps=5)
    for step in range(5):
        trainer.step(step, _sounds())
    save_codec(trainer.codec, tmp_path)
    assert next(MimiModel.from_pretrained(tmp_path).parameters()).dtype == torch.float16
    forget_cached_codebooks(trainer.codec.eval())
    codes = torch.randint(0, SIZE.codes, (1, SIZE.codebooks, 6), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = (model.decode(codes).audio_values for model in (trainer.codec, load_codec(tmp_path)))
    assert (before - after).abs().max() < 0.02 * before.abs().max()


def test_a_codec_is_saved_in_parts_that_replace_the_last_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = new_codec(0, SIZE)
    save_codec(codec, tmp_path)
    monkeypatch.setattr("recipes.demo_model.export.SHARD_SIZE", "20KB")
    save_codec(codec, tmp_path)
    parts = list(tmp_path.glob("*.safetensors"))
    assert len(parts) > 1 and all(part.stat().st_size < 30_000 for part in parts)
    ours, theirs = codec.half().float().state_dict(), load_codec(tmp_path).state_dict()
    assert all(torch.equal(theirs[name], value) for name, value in ours.items() if "codebook" not in name)


def test_codebooks_follow_their_vectors_alike_in_small_and_large_batches() -> None:
    """The same vectors, in one batch or in four, leave the average code with a usage of 1."""
    for size in (64, 16):
        codec = new_codec(0, SIZE).train()
        generator = torch.Generator().manual_seed(0)
        for latents in torch.randn(4096 // size, 1, SIZE.hidden, size, generator=generator):
            quantise(codec, latents, dropout=0.0)
        usage = codec.quantizer.semantic_residual_vector_quantizer.layers[0].codebook.cluster_usage
        assert usage.mean().item() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.01), (99, 1.0), (1000, 0.1)])
def test_learning_rate_rises_then_falls_to_the_floor(step: int, expected: float) -> None:
    assert learning_rate(step, 1000, peak=1.0, warm_up=100, floor=0.1) == pytest.approx(expected, rel=0.03)
