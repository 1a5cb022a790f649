# SPDX-License-Identifier: Apache-2.0
"""Security mode of a BQ40: sealed as it flies, unsealed, or with full access.

Two keys in succession open the next mode; here they are the keys of the factory settings. The
driver in `smartbattery` sends none of them.
"""

from math import inf

from sim.emulator.bq40_data import KEYS, KEYS_WITHIN_S, SEALED


class SecurityState:
    """The security mode of a part.

    Attributes:
        mode: one of `SEALED`, `UNSEALED`, `FULL_ACCESS` of `sim.emulator.bq40_data`.
        first_key: the key that the second one must follow; any other command clears it.
    """

    def __init__(self) -> None:
        self.mode = SEALED
        self.first_key: int | None = None
        self._first_key_s = -inf

    def accepts(self, selector: int, now_s: float) -> bool:
        """Whether a selector is one of the two keys; the second one changes the mode."""
        previous = self.first_key
        self.first_key = None
        first, second, next_mode = KEYS.get(self.mode, (None, None, self.mode))
        is_in_time = now_s - self._first_key_s <= KEYS_WITHIN_S
        if previous is not None and selector == second and is_in_time:
            self.mode = next_mode
        elif selector == first:
            self.first_key = selector
            self._first_key_s = now_s
        else:
            return False
        return True
