"""What can go wrong between a host and a gauge, as one tree.

`BusError`: the transfer did not happen. `IntegrityError`: bytes arrived and are not believable.
`UnsupportedError`: the part or the adapter cannot do what was asked. Each carries one sentence
that names the address, the command and the bytes where there are any.
"""


class BatteryError(Exception):
    """Root of everything this library raises on purpose."""


class BusError(BatteryError):
    """The transfer did not happen."""


class NackError(BusError):
    """Nobody acknowledged: absent, asleep, or busy writing its flash."""


class BusTimeoutError(BusError):
    """The bus or the gauge held the line for longer than the adapter waits."""


class BusAbsentError(BusError):
    """The adapter itself is not there: no such device file, or it was unplugged."""


class IntegrityError(BatteryError):
    """Bytes arrived that cannot be believed: wrong PEC, wrong length."""


class UnsupportedError(BatteryError):
    """The adapter or the gauge cannot do this; asking again will not help."""
