# SPDX-License-Identifier: Apache-2.0
"""URLs of a CAN bus."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dronebms.core.errors import LinkError
from dronebms.dronecan.can_url import parse_can_url


@pytest.mark.parametrize(
    ("text", "kind", "place"),
    [
        ("socketcan:can0", "socketcan", "can0"),
        ("socketcan:vcan-1.2", "socketcan", "vcan-1.2"),
        ("slcan:/dev/ttyACM0", "slcan", "/dev/ttyACM0"),
        ("slcan:/dev/serial/by-id/usb-a:b", "slcan", "/dev/serial/by-id/usb-a:b"),
        ("mcast:0", "mcast", "0"),
        ("mcast:255", "mcast", "255"),
        ("mavcan", "mavcan", ""),
    ],
)
def test_a_url_has_its_parts_and_is_written_back(text: str, kind: str, place: str) -> None:
    url = parse_can_url(text)

    assert (url.kind, url.place) == (kind, place)
    assert str(url) == text


def test_two_spellings_of_a_bus_are_equal() -> None:
    assert parse_can_url("mcast:00") == parse_can_url("mcast:0")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", ""),
        ("can0", "socketcan:can0"),
        ("can:can0", "socketcan:can0"),
        ("/dev/ttyACM0", "slcan:/dev/ttyACM0"),
        ("mcast:", "mcast:0"),
        ("mcast:256", ""),
        ("mcast:-1", ""),
        ("mcast:\u0663", ""),
        ("socketcan:", ""),
        ("socketcan:an-interface-name-of-20", ""),
        ("slcan:ttyACM0", ""),
        ("mavcan:0", ""),
        ("mcast:0\n", ""),
        ("socketcan:a b", ""),
    ],
)
def test_any_other_text_is_refused_in_one_sentence(text: str, hint: str) -> None:
    with pytest.raises(LinkError) as caught:
        parse_can_url(text)

    sentence = str(caught.value)
    assert "expected socketcan:INTERFACE, slcan:PATH, mcast:NUMBER or mavcan" in sentence
    assert sentence.isprintable()
    if hint:
        assert sentence.endswith(f"did you mean {hint}?")


@given(st.text(max_size=30))
def test_no_text_raises_anything_else(text: str) -> None:
    try:
        url = parse_can_url(text)
    except LinkError:
        return
    assert parse_can_url(str(url)) == url
