"""How far a BQ40 lets a host in: sealed as it flies, unsealed, or with full access.

Two words open a part one step further, with nothing in between: the keys that parts are delivered
with. Our own driver sends none of them.
"""

from math import inf

from sim.emulator.bq40_data import KEYS, KEYS_WITHIN_S, SEALED


class SecurityState:
    """The mode that a part is in.

    Attributes:
        mode: one of `SEALED`, `UNSEALED`, `FULL_ACCESS` of `sim.emulator.bq40_data`.
        first: the word that the second one must follow; whatever else is heard clears it.
    """

    def __init__(self) -> None:
        self.mode = SEALED
        self.first: int | None = None
        self._at_s = -inf

    def opens(self, word: int, now_s: float) -> bool:
        """Return whether a word is one of the two that open the part, and take it."""
        before, self.first = self.first, None
        first, second, then = KEYS.get(self.mode, (None, None, self.mode))
        if before is not None and word == second and now_s - self._at_s <= KEYS_WITHIN_S:
            self.mode = then
        elif word == first:
            self.first, self._at_s = word, now_s
        else:
            return False
        return True
