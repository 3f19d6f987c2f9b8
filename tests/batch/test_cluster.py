"""What is asked of an address before Ray is, which would wait for minutes."""

import socket

import pytest

from app.batch import cluster


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("127.0.0.1:6379", ("127.0.0.1", 6379)),
        ("[::1]:6379", ("::1", 6379)),
        ("ray://[2001:db8::1]:10001", ("2001:db8::1", 10001)),
        ("auto", None),
    ],
)
def test_whether_something_listens_is_asked_of_the_host_of_an_address(
    address: str, asked: tuple[str, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[str, int]] = []

    def create_connection(address: tuple[str, int], timeout: float) -> socket.socket:
        found.append(address)
        return socket.socket()

    monkeypatch.setattr(socket, "create_connection", create_connection)
    cluster._check_reachable(address)
    assert found == ([asked] if asked else [])
