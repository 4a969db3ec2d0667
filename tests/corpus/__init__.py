"""Uploads good and bad, generated from a seed: nothing here is copied from anyone's bug tracker.

`cases(seed)` gives the named classes, `mutants(case, count, seed)` damaged relatives of one of them. A server passes
when each gets a status of its `expect`, no process, file or connection is left over, and none takes over 12 seconds.
"""

from tests.corpus.audio import cases
from tests.corpus.case import ANY, Bait, Case
from tests.corpus.mutate import mutants

__all__ = ["ANY", "Bait", "Case", "cases", "mutants"]
