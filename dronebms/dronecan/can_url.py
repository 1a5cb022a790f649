# SPDX-License-Identifier: Apache-2.0
"""Address of a CAN bus: `socketcan:can0 | slcan:/dev/ttyACM0 | mcast:0 | mavcan`."""

from dataclasses import dataclass

from dronebms.core.errors import LinkError

CAN_URL_FORMS = "socketcan:INTERFACE, slcan:PATH, mcast:NUMBER or mavcan"
_INTERFACE_CHARS = 15  # IFNAMSIZ of if(7), without the final zero
_LAST_BUS = 255  # last byte of the multicast group


@dataclass(frozen=True, slots=True)
class CanUrl:
    """Parts of a CAN URL."""

    kind: str  # socketcan, slcan, mcast or mavcan
    place: str = ""  # interface, path or number

    def __str__(self) -> str:
        return f"{self.kind}:{self.place}" if self.place else self.kind


def parse_can_url(text: str) -> CanUrl:
    """Parse a CAN URL.

    Raises:
        LinkError: invalid URL; the message states the expected form.
    """
    kind, _, place = text.partition(":")
    url = CanUrl(kind, place)
    if text == "mavcan" or (kind in _IS_PLACE and text.isprintable() and _IS_PLACE[kind](place)):
        return CanUrl("mcast", str(int(place))) if kind == "mcast" else url
    raise LinkError(f"CAN bus {text!r}: expected {CAN_URL_FORMS}{_meant(text)}")


def multicast_group(url: CanUrl) -> str:
    """Address of a bus `mcast:NUMBER`."""
    return f"239.65.82.{url.place}"


def _is_interface(place: str) -> bool:
    """Whether Linux accepts the name of a network interface."""
    fits = 0 < len(place.encode()) <= _INTERFACE_CHARS
    return fits and not any(char in "/: " for char in place) and place not in (".", "..")


def _is_number(place: str) -> bool:
    fits = place.isascii() and place.isdecimal() and len(place) <= len(str(_LAST_BUS))
    return fits and int(place) <= _LAST_BUS


def _is_path(place: str) -> bool:
    return place.startswith("/") and len(place) > 1


_IS_PLACE = {"socketcan": _is_interface, "slcan": _is_path, "mcast": _is_number}


def _meant(text: str) -> str:
    """Suggestion for another notation, as the end of a sentence."""
    kind, _, rest = text.partition(":")
    if text.startswith("/dev/"):
        likely = f"slcan:{text}"
    elif kind == "mcast" and not rest:
        likely = "mcast:0"
    elif kind in ("can", "socketcan") and rest:
        likely = f"socketcan:{rest.lstrip('/')}"
    elif not rest and _is_interface(text) and text[-1:].isdecimal():
        likely = f"socketcan:{text}"
    else:
        return ""
    return f"; did you mean {likely}?"
