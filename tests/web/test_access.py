# SPDX-License-Identifier: Apache-2.0
"""Access to the page: addresses, host names, the token."""

import socket
from contextlib import closing
from pathlib import Path

import pytest

from dronebms.core.errors import ConfigError
from dronebms.web.access import Token, is_own_host, listen, own_names, read_token

SECRET = "-".join(("correct", "horse", "battery"))
TOKEN = Token(SECRET)


@pytest.mark.parametrize(
    ("header", "own"),
    [
        ("localhost", True),
        ("LocalHost:8420", True),
        ("localhost.:8420", True),
        ("127.0.0.1:9000", True),
        ("[::1]:8420", True),
        ("192.168.1.7:8420", True),  # an address cannot be made to resolve elsewhere
        ("drone7:8420", True),
        (f"{socket.gethostname()}.local:8420", True),
        ("", False),
        ("evil.example", False),
        ("evil.example:8420", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("[::1", True),
        ("user@evil.example", False),
        ("127.0.0.1@evil.example:80", False),
    ],
)
def test_a_request_for_another_name_is_not_ours(header: str, *, own: bool) -> None:
    assert is_own_host(header, own_names("Drone7")) is own


def test_other_addresses_need_a_token() -> None:
    with pytest.raises(ConfigError, match=r"^--listen 0\.0\.0\.0:0: other computers .* --token"):
        listen("0.0.0.0", 0, None)  # noqa: S104 - refused
    for host in ("127.0.0.1", "localhost"):
        listen(host, 0, None).close()
    listen("0.0.0.0", 0, TOKEN).close()  # noqa: S104 - with a token


def test_an_address_in_use_or_unknown_is_one_sentence() -> None:
    with closing(listen("127.0.0.1", 0, None)) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"^cannot listen on 127\.0\.0\.1:{port}: Address"):
            listen("127.0.0.1", port, None)
    with pytest.raises(ConfigError, match=r"^cannot listen on 192\.0\.2\.1:0: "):
        listen("192.0.2.1", 0, TOKEN)
    with pytest.raises(ConfigError, match=r"^cannot listen on no\.such\.invalid:0: "):
        listen("no.such.invalid", 0, TOKEN)


def test_a_stalled_connection_is_given_up_by_the_kernel() -> None:
    with (
        closing(listen("127.0.0.1", 0, None)) as listener,
        socket.create_connection(listener.getsockname()),
        closing(listener.accept()[0]) as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 20


def test_a_token_is_one_long_word_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    assert read_token(path) == TOKEN
    for text in ("", "short", "two words of some length", "pässwörter-mit-umlaut", "x" * 5000):
        path.write_text(text)
        with pytest.raises(ConfigError, match=f"^--token {path}: expected one ASCII word of 16 "):
            read_token(path)
    with pytest.raises(ConfigError, match="No such file"):
        read_token(tmp_path / "none")


def test_the_cookie_is_not_the_secret_and_belongs_to_one_token() -> None:
    other = Token(SECRET + "2")
    assert TOKEN.equals(SECRET)
    assert TOKEN.is_cookie(TOKEN.cookie)
    for wrong in ("", SECRET[:-1], SECRET.upper(), TOKEN.cookie, other.secret, "\udcff"):
        assert not TOKEN.equals(wrong)
    for wrong in ("", SECRET, other.cookie, TOKEN.cookie.upper()):
        assert not TOKEN.is_cookie(wrong)
    assert SECRET not in TOKEN.cookie + TOKEN.cookie_name
    assert TOKEN.cookie_name != other.cookie_name
