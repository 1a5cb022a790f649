# SPDX-License-Identifier: Apache-2.0
"""Errors of the SMBus driver.

    BatteryError
    +-- BusError              the transfer did not happen
    |   +-- NackError         not acknowledged: absent, asleep, or busy writing its flash
    |   +-- BusTimeoutError   a line was held low for longer than the adapter waits
    |   +-- BusAbsentError    no such adapter, or it was unplugged
    |   +-- InUseError        another process has locked this gauge
    +-- IntegrityError        bytes arrived that fail their check: PEC, length, echo
    +-- UnsupportedError      the part or the adapter cannot do this; a retry does not help
        +-- AdapterLimitError by this adapter never: more bytes than it transfers at once

Each carries one sentence that names the address, the command and the bytes where there are any.
"""


class BatteryError(Exception):
    """Root of every error that this library raises on purpose."""


class BusError(BatteryError):
    """The transfer did not happen."""


class NackError(BusError):
    """The address or the command was not acknowledged."""


class BusTimeoutError(BusError):
    """The bus or the gauge held a line low for longer than the adapter waits."""


class BusAbsentError(BusError):
    """The adapter itself is absent: no such device file, or it was unplugged."""


class InUseError(BusError):
    """Another process has locked this gauge."""


class IntegrityError(BatteryError):
    """The bytes fail their check: wrong PEC, length or echo."""


class UnsupportedError(BatteryError):
    """The adapter or the gauge cannot do this; a retry does not help."""


class AdapterLimitError(UnsupportedError):
    """The adapter never does such a transfer: it has more bytes than it transfers at once."""
