"""What was said so far, as far as it is context of the next turn."""

from csm.model.conversation import Turn


class History:
    """The latest turns, oldest first.

    The keys and values of the conversation so far are reused while its beginning stays the same. Leaving out a turn
    moves all later ones, so turns are not dropped one by one, but rarely and half of them at once.

    Args:
        max_seconds: of audio; the latest turn is kept even if it is longer.

    Attributes:
        turns: each with its audio and codes.
    """

    def __init__(self, max_seconds: float = float("inf")) -> None:
        self._max_seconds = max_seconds
        self.turns: list[Turn] = []

    def add(self, turn: Turn) -> None:
        """Add what was said last; drop older turns if there is too much."""
        self.turns.append(turn)
        while len(self.turns) > 1 and self._seconds > self._max_seconds:
            self.drop_older()

    def drop_older(self) -> None:
        """Drop the older half of the turns, at least one."""
        del self.turns[: -(-len(self.turns) // 2)]

    @property
    def _seconds(self) -> float:
        return sum(turn.audio.seconds for turn in self.turns if turn.audio is not None)
