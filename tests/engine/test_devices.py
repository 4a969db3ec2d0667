"""Which device is taken, what is said where it is not the expected one, and which errors end a process."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from csm.engine.devices import describe_failure, is_fatal, place
from csm.errors import ModelUnavailable
from tests.speech.utterances import speech_settings

OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver.\nMore."
NO_DRIVER = "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU."


@pytest.fixture
def no_device(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Make torch see no CUDA device, with the error that says why."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def fail(error: Exception) -> None:
        def init() -> None:
            raise error

        monkeypatch.setattr(torch.cuda, "init", init)

    return fail


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make torch see a GPU, and be built for some architectures."""

    def present(name: str, capability: tuple[int, int], built: list[str]) -> None:
        for attribute, value in {
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "get_device_name": lambda device: name,
            "get_device_capability": lambda device: capability,
            "get_arch_list": lambda: built,
        }.items():
            monkeypatch.setattr(torch.cuda, attribute, value)

    return present


def test_an_old_driver_is_a_warning_under_auto_and_an_error_where_cuda_is_asked_for(
    no_device: Callable[[Exception], None],
) -> None:
    no_device(RuntimeError(OLD_DRIVER))
    placement = place(speech_settings(device="auto"))
    assert placement.device.type == "cpu"
    assert placement.notice is not None and "too old" in placement.notice and "\n" not in placement.notice
    with pytest.raises(ModelUnavailable, match="too old"):
        place(speech_settings(device="cuda"))


@pytest.mark.parametrize(
    ("error", "hidden"), [(RuntimeError(NO_DRIVER), None), (RuntimeError("No CUDA GPUs are available"), "")]
)
def test_without_a_gpu_or_with_a_hidden_one_there_is_no_warning(
    error: Exception, hidden: str | None, no_device: Callable[[Exception], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    no_device(error)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert place(speech_settings(device="auto")).notice is None


@pytest.mark.parametrize("has_driver", [True, False])
def test_a_cpu_build_of_torch_beside_a_driver_is_named(
    has_driver: bool, no_device: Callable[[Exception], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    no_device(AssertionError("Torch not compiled with CUDA enabled"))
    monkeypatch.setattr("csm.engine.devices.Path.exists", lambda path: has_driver)
    notice = place(speech_settings(device="auto")).notice
    assert ("CPU build" in notice) if has_driver and notice else notice is None


@pytest.mark.parametrize(
    ("capability", "built", "runs"),
    [
        ((9, 0), ["sm_80", "sm_90"], True),
        ((8, 9), ["sm_80", "sm_90"], True),
        ((8, 0), ["sm_86"], False),
        ((6, 1), ["sm_75", "sm_80", "sm_120"], False),
        ((12, 0), ["sm_90", "compute_90"], True),
        ((12, 0), ["sm_90"], False),
        ((10, 3), ["sm_100", "sm_120"], True),
        ((9, 0), ["gfx942"], True),
    ],
)
def test_a_gpu_without_kernels_in_this_torch_is_named(
    capability: tuple[int, int], built: list[str], runs: bool, card: Callable[..., None]
) -> None:
    card("NVIDIA Abacus", capability, built)
    placement = place(speech_settings(device="auto"))
    if runs:
        assert placement.device == torch.device("cuda", 0) and placement.notice is None
        return
    assert placement.device.type == "cpu"
    assert placement.notice is not None and "NVIDIA Abacus" in placement.notice
    with pytest.raises(ModelUnavailable, match="NVIDIA Abacus"):
        place(speech_settings(device="cuda:0"))


def test_a_device_number_beyond_the_last_is_refused(card: Callable[..., None]) -> None:
    card("NVIDIA Abacus", (9, 0), ["sm_90"])
    with pytest.raises(ModelUnavailable, match="torch sees 1 CUDA devices"):
        place(speech_settings(device="cuda:1"))


def accelerator_error(code: int) -> Any:
    """As torch raises it: the number is an attribute."""
    error: Any = torch.AcceleratorError("CUDA error: something\nMore.")
    error.error_code = code
    return error


@pytest.mark.parametrize("code", [46, 214, 220, 700, 702, 710, 715, 719, 999])
def test_a_fatal_error_code_ends_the_engine(code: int) -> None:
    reason, told = describe_failure(accelerator_error(code))
    assert reason == "the device is lost: CUDA error: something"
    assert "CUDA" not in str(told)


@pytest.mark.parametrize("code", [1, 2, 209, 701, 900])
def test_other_error_codes_end_one_request(code: int) -> None:
    error = accelerator_error(code)
    error.args = ("CUDA error: device-side assert triggered",)
    assert not is_fatal(error)
