"""The moving average of a model's weights: it speaks better than the weights of the last step do."""

from copy import deepcopy
from typing import Any

from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """A copy of a module whose trained weights follow the module's.

    Unlike `torch.optim.swa_utils.AveragedModel` it leaves alone what is not trained, and counts on the host: the other
    makes a GPU wait once per tensor.

    Attributes:
        module: the copy. Its buffers stay as they were when it was made.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module: Any = deepcopy(module)
        pairs = zip(self.module.parameters(), module.parameters(), strict=True)
        trained = [(mean, value) for mean, value in pairs if value.requires_grad]
        self._means, self._values = [mean for mean, _ in trained], [value for _, value in trained]
        self._decay, self._count = decay, 0

    def update(self) -> None:
        """Follow the module by one step, at first quickly: what it began with is soon forgotten."""
        decay = min(self._decay, (1 + self._count) / (10 + self._count))
        get_ema_multi_avg_fn(decay)(self._means, self._values, self._count)
        self._count += 1

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on."""
        return {"module": self.module.state_dict(), "count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.module.load_state_dict(state_dict["module"])
        self._count = int(state_dict["count"])
