"""What the next turn continues: the voices' reference audio, and what was said so far."""

from collections.abc import Sequence

from csm.model.conversation import Conversation, Turn


class History:
    """The latest turns, oldest first, behind those of the reference audio, which are never dropped.

    The keys and values of the conversation so far are reused while its beginning stays the same. Leaving out a turn
    moves all later ones, so turns are not dropped one by one, but rarely and half of them at once.

    Args:
        context: the turns of the reference audio.
        max_seconds: of the audio of `turns`; the latest is kept even if it is longer.

    Attributes:
        turns: what was said, each with its audio and codes.
    """

    def __init__(self, context: Sequence[Turn], max_seconds: float = float("inf")) -> None:
        self._context, self._max_seconds = context, max_seconds
        self.turns: list[Turn] = []

    def conversation(self, target: Turn, before: Sequence[Turn] = ()) -> Conversation:
        """Return the conversation in which `target` is generated, behind further turns `before` it."""
        said = (*self.turns, *before)
        return Conversation((*self._context, *said, target), history=len(said))

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
