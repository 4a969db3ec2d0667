"""The encoder learns to tell a speaker's code in every frame; codes have one pitch each."""

import torch

from recipes.demo_model import pairs, phonemes, settle, signals
from recipes.demo_model.architecture import SAMPLES_PER_FRAME, CodecSize
from recipes.demo_model.distil import CODING
from recipes.demo_model.resize import new_codec
from recipes.demo_model.voices import Prepared, voices_of

SIZE = CodecSize(filters=2, hidden=16, feed_forward=32, layers=1, heads=2, codebooks=2, codes=64, code_width=8)
SPEAKERS, SENTENCES, FRAMES = 4, 3, 12


def _prepared() -> Prepared:
    """Speakers who differ in what the convolutions give; the first two have one pitch, the others another."""
    torch.manual_seed(0)
    voices, count = torch.randn(SPEAKERS, 16), SPEAKERS * SENTENCES
    speakers = torch.arange(SPEAKERS).repeat_interleave(SENTENCES)
    before = voices[speakers][:, None] + 0.3 * torch.randn(count, 2 * FRAMES, 16)
    return {
        "before": before.flatten(0, 1).half(),
        "first": torch.full((count * FRAMES,), phonemes.UNKNOWN).short().index_fill_(0, torch.arange(FRAMES), 1),
        "features": torch.randn(SPEAKERS, 20)[speakers] + 0.01 * torch.randn(count, 20),
        "frames": torch.full((count,), FRAMES),
        "speakers": 7 * speakers,
        "pitches": torch.tensor([100.0, 100.0, 200.0, 200.0])[speakers],
        "natural": torch.ones(count, dtype=torch.bool),
        "names": [f"speaker {number}" for number in range(7 * SPEAKERS)],
    }


def test_every_speaker_gets_a_code_of_its_pitch_and_the_others_are_out_of_reach() -> None:
    codec = new_codec(0, SIZE)
    for codes, expected in ((4, 4), (2, 2)):
        voices = voices_of(codec, _prepared(), codes)
        assert len({tuple(row) for row in voices.targets.tolist()}) == expected
        if codes == 2:
            assert torch.equal(voices.targets[0], voices.targets[1])
            assert not torch.equal(voices.targets[1], voices.targets[2])
        codebook = codec.quantizer.acoustic_residual_vector_quantizer.layers[0].codebook
        chosen = codebook.quantize(voices.targets)
        assert voices.codes == {f"speaker {7 * number}": int(code) for number, code in enumerate(chosen)}
        torch.testing.assert_close(codebook.decode(chosen), voices.targets)
        assert len(codebook.quantize(torch.randn(500, 8)).unique()) <= expected


def test_frames_learn_the_code_of_their_speaker_and_nothing_else_changes() -> None:
    codec = new_codec(0, SIZE)
    pairs.install(codec)
    voices = voices_of(codec, _prepared(), 4)
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    settler = settle.Settler(codec, voices, settle.Plan(8, 20, 150, 1e-2))
    losses = [settler.step(step, 0)["voice"].item() for step in range(150)]
    assert sum(losses[-5:]) < 0.3 * sum(losses[:5])
    changed = {name for name, value in codec.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith(CODING) and "encoder_seanet" not in name for name in changed)


def test_the_last_convolutions_learn_if_the_first_alone_were_computed() -> None:
    codec, sounds = new_codec(0, SIZE), torch.randn(SPEAKERS * SENTENCES, FRAMES * SAMPLES_PER_FRAME)
    pairs.install(codec)
    prepared = _prepared()
    with torch.inference_mode():
        prepared["before"] = torch.cat([signals.encoded(codec, one.numpy(), 4) for one in sounds]).half()
    voices = voices_of(codec, prepared, 4)
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    settle.Settler(codec, voices, settle.Plan(2, 20, 2, 1e-2, layers=4)).step(0, 0)
    changed = {name for name, value in codec.state_dict().items() if not torch.equal(value, before[name])}
    layers = {int(name.split(".")[3]) for name in changed if name.startswith("encoder.encoder_seanet.layers")}
    assert layers == {4, 6, 7, 9, 10, 12, 14}  # the others have no weights


def test_an_example_is_one_speaker_and_full() -> None:
    voices = voices_of(new_codec(0, SIZE), _prepared(), 4)
    torch.manual_seed(1)
    before, first, wanted = voices.draw(20, 30)
    assert before.shape == (20, 60, 16) and first.shape == (20, 30) and wanted.shape == (20, 8)
    means = before.mean(1)
    for one, other in ((0, 1), (2, 3)):
        same = torch.equal(wanted[one], wanted[other])
        assert (float((means[one] - means[other]).norm()) < 1.0) == same


def test_speakers_at_other_speeds_have_the_nearest_code_of_the_others() -> None:
    codec, prepared = new_codec(0, SIZE), _prepared()
    prepared["natural"] = prepared["speakers"] != 7
    voices = voices_of(codec, prepared, 3)
    codebook = codec.quantizer.acoustic_residual_vector_quantizer.layers[0].codebook
    assert len(set(voices.codes.values())) == 3
    assert voices.codes["speaker 7"] == int(codebook.quantize(voices.targets[1:2]))
    assert not torch.equal(codebook.decode(torch.tensor([voices.codes["speaker 7"]]))[0], voices.targets[1])
