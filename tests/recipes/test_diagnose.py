from pathlib import Path

import numpy as np
import pytest
import torch

from recipes.demo_model import judges, speech
from recipes.demo_model.diagnose import complete, diagnose, states
from recipes.demo_model.dialogue import Corpus
from recipes.demo_model.evaluate import resynthesise, trials
from recipes.demo_model.model_trainer import embed
from recipes.demo_model.tokenizer import make_tokenizer
from recipes.demo_model.tokens import encode
from tests import tiny_checkpoints

SPEECH = Path(__file__).parents[1] / "quality" / "data"


@pytest.fixture
def trial():
    own, target, _ = next(trials(speech.read_index(SPEECH), seed=0))
    return tiny_checkpoints.make(), own, target


@torch.inference_mode()
def test_states_give_the_losses_of_transformers(trial):
    model, own, target = trial
    hidden, codes = states(model, own, target)
    spoken = encode(model.codec_model, [own, target])
    rows = torch.cat([torch.from_numpy(Corpus(spoken, make_tokenizer()).turn(one).rows) for one in spoken])
    labels = torch.full_like(rows[:, :-1], -100)
    labels[-1 - len(codes) : -1] = codes
    theirs = model(inputs_embeds=embed(model, rows[None]), labels=labels[None], use_cache=False)
    torch.testing.assert_close(
        torch.nn.functional.cross_entropy(model.lm_head(hidden), codes[:, 0]), theirs.backbone_loss
    )


@torch.inference_mode()
def test_given_codes_stay_and_likeliest_ones_follow(trial):
    model, own, target = trial
    hidden, codes = states(model, own, target)
    assert torch.equal(complete(model, hidden, codes, 0.9), codes)
    drawn = complete(model, hidden, codes[:, :2], 0.9)
    assert torch.equal(drawn[:, :2], codes[:, :2])
    assert drawn.shape == codes.shape and drawn.max() < model.config.codec_config.codebook_size
    assert torch.equal(complete(model, hidden, codes[:, :0], 0.0)[:, 0], model.lm_head(hidden)[:, :64].argmax(-1))


@pytest.mark.slow
def test_with_all_codes_true_only_the_codec_errs(trial):
    try:
        judges.load()
    except judges.JudgeMissing as missing:
        pytest.skip(str(missing))
    model, own, target = trial
    row = diagnose(model, own, target, temperature=0.9)
    again = resynthesise(model.codec_model, speech.load(target), np.zeros(0, np.int64))
    assert row["wer, 4 true"] == judges.heard_error_rate(target.text, again, 24_000)
    assert len(row) == 9
