"""What a run prints, when it waits for the device, and when it gives up by itself."""

from pathlib import Path

import pytest
import torch

from recipes.demo_model.progress import Limits, Progress, RunFailed


def _check(limits: Limits, step: int = 100, loss: float = 0.5, pace: float = 0.1, elapsed: float = 10.0) -> None:
    limits.check(step, {"spectral": loss, "wave": 0.1}, pace, elapsed)


def test_a_run_without_limits_may_do_as_it_likes() -> None:
    _check(Limits(), loss=1e9, pace=1e9, elapsed=1e9)


def test_a_run_whose_loss_is_not_a_number_is_given_up() -> None:
    with pytest.raises(RunFailed, match="not a number"):
        _check(Limits(), loss=float("nan"))


def test_a_slow_run_is_given_up() -> None:
    _check(Limits(slowest=0.1), pace=0.1)
    with pytest.raises(RunFailed, match=r"0\.110 s/step, more than 0\.100"):
        _check(Limits(slowest=0.1), pace=0.11)


def test_a_run_that_learns_nothing_is_given_up_but_not_at_once() -> None:
    limits = Limits(highest=1.0, watched="spectral", from_step=3000)
    _check(limits, step=2950, loss=1.1)
    _check(limits, step=3000, loss=0.9)
    with pytest.raises(RunFailed, match="spectral"):
        _check(limits, step=3000, loss=1.1)


def test_a_run_that_writes_nothing_is_given_up(tmp_path: Path) -> None:
    limits = Limits(weights=tmp_path / "config.json", weights_within=150.0)
    _check(limits, elapsed=140.0)
    with pytest.raises(RunFailed, match="save more often"):
        _check(limits, elapsed=160.0)
    (tmp_path / "config.json").touch()
    _check(limits, elapsed=160.0)


def test_averages_are_printed_over_the_steps_since_the_last_time(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(10, minutes=5, every=2)
    for step, value in enumerate((1.0, 2.0, 5.0, 7.0), 1):
        progress.report(step, {"loss": torch.tensor(value)})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[:2] for line in lines] == [["step 2/10", "loss 1.500"], ["step 4/10", "loss 6.000"]]


def test_a_value_is_fetched_only_to_be_printed() -> None:
    """Tensors without numbers can be added up; looking at one of them fails."""
    progress, value = Progress(10, minutes=5, every=3), {"loss": torch.ones((), device="meta")}
    progress.report(1, value)
    progress.report(2, value)
    with pytest.raises((RuntimeError, NotImplementedError)):
        progress.report(3, value)


def test_the_limits_are_looked_at_when_averages_are_printed_but_for_the_pace_of_the_first() -> None:
    progress = Progress(10, minutes=5, every=1, limits=Limits(slowest=1e-9))
    progress.report(1, {"loss": torch.tensor(1.0)})
    with pytest.raises(RunFailed, match="s/step"):
        progress.report(2, {"loss": torch.tensor(1.0)})
