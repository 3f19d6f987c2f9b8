"""What may be shown of an address."""

import pytest

from app.errors import without_password


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:s3cret@host:8000/path", "http://***@host:8000/path"),
        ("http://s3cret@host", "http://***@host"),
        ("http://user:s3@cret@host", "http://***@host"),
        ("http://user:s3/cret@host:3128", "http://***@host:3128"),  # which is no URL, and is shown as a wrong one
        ("http://user:s3#cret@host/?a", "http://***@host/?a"),
        ("http://host:8000/a@b", "http://host:8000/a@b"),
        ("https://host/@scope/name", "https://host/@scope/name"),
        ("user@host", "user@host"),
    ],
)
def test_an_address_is_shown_without_the_user_and_the_password(url: str, shown: str) -> None:
    assert without_password(url) == shown
