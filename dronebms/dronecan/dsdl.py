# SPDX-License-Identifier: Apache-2.0
"""Data types of DroneCAN, from the package `dronecan`: the only module that imports it.

Its drivers and its node are not used: a driver runs a second process and a receive loop without a
pause, and a lost bus ends the node.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from dronebms.dronecan.frames import CanFrame

_MAVUTIL = "pymavlink.mavutil"


def _imported() -> Any:  # noqa: ANN401 - an untyped package
    """The package, without its MAVLink driver, which would load a second MAVLink dialect: 24 MB."""
    modules: dict[str, Any] = sys.modules
    hidden = _MAVUTIL not in modules
    if hidden:
        modules[_MAVUTIL] = None
    try:
        import dronecan  # noqa: PLC0415 - an extra
    finally:
        if hidden:
            del modules[_MAVUTIL]
    return dronecan


_dronecan = _imported()
_ERRORS = (_dronecan.UAVCANException, ArithmeticError, AssertionError, LookupError, ValueError)


class DecodeError(Exception):
    """Frames that are no valid transfer of a known data type."""


def data_type_id(name: str) -> int:
    """Data type id of a full name, such as `uavcan.equipment.power.BatteryInfo`.

    Raises:
        KeyError: no such type with an id.
    """
    number: int = _dronecan.TYPENAMES[name].default_dtid
    return number


def message(name: str, fields: Mapping[str, object], kind: str = "message") -> Any:  # noqa: ANN401
    """A value of a data type.

    Args:
        name: full name.
        fields: by name; a nested value is a mapping, an array a sequence or bytes. Others are zero.
        kind: `message`, `request` or `response`.
    """
    data_type = _dronecan.TYPENAMES[name]
    value = data_type() if kind == "message" else data_type(_mode=kind)
    _fill(value, fields)
    return value


def _fill(value: Any, fields: Mapping[str, object]) -> None:  # noqa: ANN401
    for field, content in fields.items():
        if isinstance(content, Mapping):
            _fill(getattr(value, field), content)
        else:
            setattr(value, field, content)


def encode(
    value: Any,  # noqa: ANN401
    *,
    transfer_id: int,
    priority: int,
    source: int,
    destination: int | None = None,
    discriminator: int | None = None,
) -> list[CanFrame]:
    """The frames of a transfer.

    Args:
        value: of `message`.
        transfer_id: 0..31, counts the transfers of one type and destination.
        priority: 0 (highest) to 31.
        source: node id of the sender; 0: anonymous.
        destination: node id of the receiver of a service.
        discriminator: 14 bits that distinguish anonymous senders.
    """
    transfer = _dronecan.transport.Transfer(
        payload=value,
        transfer_id=transfer_id,
        transfer_priority=priority,
        source_node_id=source,
        dest_node_id=destination,
        service_not_message=destination is not None,
        request_not_response=destination is not None and _dronecan.is_request(value),
        discriminator=discriminator,
    )
    return [CanFrame(frame.message_id, bytes(frame.bytes)) for frame in transfer.to_frames()]


def decode(frames: Sequence[CanFrame]) -> Any:  # noqa: ANN401
    """The value that the frames of a transfer carry.

    Raises:
        DecodeError: bad toggle bit, checksum or content, or an unknown data type.
    """
    transfer = _dronecan.transport.Transfer()
    try:
        transfer.from_frames(
            [_dronecan.transport.Frame(frame.can_id, frame.data) for frame in frames]
        )
    except _ERRORS as error:
        raise DecodeError(str(error)) from error
    return transfer.payload
