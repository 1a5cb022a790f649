# SPDX-License-Identifier: Apache-2.0
"""Access to the page: addresses, host names, the token."""

import socket
from contextlib import closing
from pathlib import Path

import pytest

from dronebms.core.errors import ConfigError
from dronebms.web.access import Token, is_own_host, listen, own_names, page_hosts, read_token

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


def test_a_page_on_every_address_is_shown_with_addresses_that_a_phone_can_open() -> None:
    with closing(listen("0.0.0.0", 0, TOKEN)) as listener:  # noqa: S104 - with a token
        hosts = page_hosts(listener)
        port = listener.getsockname()[1]
    assert hosts
    assert not {"0.0.0.0", "127.0.0.1"} & set(hosts)  # noqa: S104 - compared
    for host in hosts:
        assert is_own_host(f"{host}:{port}", own_names("0.0.0.0"))  # noqa: S104 - compared
    with closing(listen("127.0.0.1", 0, None)) as listener:
        assert page_hosts(listener) == ["127.0.0.1"]


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602])
def test_a_token_that_others_can_use_is_named_with_the_command(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "my token"
    path.write_text(SECRET)
    path.chmod(mode)
    notices: list[str] = []
    assert read_token(path, notices.append) == TOKEN
    assert notices == [
        f"the token {path} can be used by other users (mode {mode:04o}): chmod 600 '{path}'"
    ]


def test_a_token_is_one_long_word_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    assert read_token(path, pytest.fail) == TOKEN
    for text in ("", "short", "two words of some length", "pässwörter-mit-umlaut", "x" * 5000):
        path.write_text(text)
        with pytest.raises(ConfigError, match=f"^--token {path}: expected one ASCII word of 16 "):
            read_token(path, pytest.fail)
    with pytest.raises(ConfigError, match="No such file"):
        read_token(tmp_path / "none", pytest.fail)


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
