"""A row can be written whatever the names are that it mentions."""

from app.errors import Unreadable
from tests.batch.test_work import ABOUT


def test_names_that_are_no_text_become_text() -> None:
    row = ABOUT.row("caf\udce9.jpg", Unreadable("this is a link to caf\udce9.jpg"), None)
    assert (row["path"], row["detail"]) == ("caf\ufffd.jpg", "this is a link to caf\ufffd.jpg")
