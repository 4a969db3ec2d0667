"""The moving average of a model's weights, which gives better speech than the weights of the last step."""

from copy import deepcopy
from typing import Any

from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """A copy of a module with the moving average of its trained weights.

    Unlike `torch.optim.swa_utils.AveragedModel`, it does not average weights that are not trained, and counts steps on
    the host, so that a GPU does not wait once per tensor.

    Attributes:
        module: the copy. Its buffers do not change.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module: Any = deepcopy(module)
        pairs = zip(self.module.parameters(), module.parameters(), strict=True)
        trained = [(mean, value) for mean, value in pairs if value.requires_grad]
        self._means, self._values = [mean for mean, _ in trained], [value for _, value in trained]
        self._decay, self._count = decay, 0

    def update(self) -> None:
        """Update the average after a step; the decay grows, so that the initial weights are soon forgotten."""
        decay = min(self._decay, (1 + self._count) / (10 + self._count))
        get_ema_multi_avg_fn(decay)(self._means, self._values, self._count)
        self._count += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        return {"module": self.module.state_dict(), "count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        self.module.load_state_dict(state_dict["module"])
        self._count = int(state_dict["count"])
