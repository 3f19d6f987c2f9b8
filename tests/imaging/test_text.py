"""Base64 is read as others write it, and what is not base64 says what and where."""

import base64
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import EmptyImage, UndecodableImage
from app.imaging.text import from_base64

FILES = st.binary(min_size=1, max_size=300)
LAYOUTS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "data URL": lambda text: "data:image/jpeg;base64," + text,
    "capitals": lambda text: "DATA:image/JPEG;BASE64," + text,
    "line breaks of MIME": lambda text: "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76)) + "\r\n",
    "line breaks in a data URL": lambda text: "data:image/png;base64,\n  " + "\n  ".join(text),
    "alphabet of URLs": lambda text: text.translate(str.maketrans("+/", "-_")),
    "no padding": lambda text: text.rstrip("="),
    "plus as space": lambda text: text.replace("+", " "),
    "spaces around": lambda text: f"  {text}\t",
    "a space before and no padding": lambda text: " " + text.rstrip("="),
    "spaces behind and no padding": lambda text: text.rstrip("=") + "  ",
    "blanks beyond ASCII around": lambda text: f"\u00a0{text}\u0085",
}


@pytest.mark.parametrize("layout", LAYOUTS)
@given(content=FILES)
def test_base64_is_read_as_others_write_it(layout: str, content: bytes) -> None:
    if layout == "plus as space":
        content = b"x" + content + b"x"  # a space at either end would be a margin
    assert from_base64(LAYOUTS[layout](base64.b64encode(content).decode())) == content


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("QUJD?UJD", "'?' at position 4"),
        ("data:image/png;base64,QUJD*UJD", "'*' at position 26"),
        ("QUJDé", "'é' at position 4"),
        ("QUJDR", "cut off"),
        ("====", "padding alone"),
        ("QU=JD", "'=' at position 2"),
        ("QUJD\t\r\nQU\tJD", "'\\t' at position 9"),
        ("QUI=\nQUI=", "'=' at position 3"),
        ("QUJD\n  é?", "'é' at position 7"),
        ("\u00a0\u0085 QUJD?", "'?' at position 7"),
        ("data:image/png;base64,\u00a0QUJD?\u00a0", "'?' at position 27"),
        ("https://a.example/cat.jpg", "URL"),
        ("s3://bucket/cat.jpg", "URL"),
        ("/home/me/cat.jpg", "name of a file"),
        ("C:\\photos\\cat.png", "name of a file"),
    ],
)
def test_what_is_not_base64_says_what_and_where(text: str, says: str) -> None:
    with pytest.raises(UndecodableImage) as caught:
        from_base64(text)
    assert says in str(caught.value)


@pytest.mark.parametrize("text", ["  ", "data:image/png;base64,\n"])
def test_a_text_without_base64_is_an_empty_image(text: str) -> None:
    with pytest.raises(EmptyImage):
        from_base64(text)


@pytest.mark.parametrize("width", [64, 76])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\t\n"], ids=repr)
@pytest.mark.parametrize("last", ["QUI=", "+UI=", "+UJD"])
def test_a_plus_that_became_a_space_is_one_at_the_edge_of_a_line_too(last: str, end: str, width: int) -> None:
    edges = [(before, behind) for before in range(4) for behind in range(4) if before + behind != 4]  # may be a margin
    lines = ["+" * before + "/+/".center(width - before - behind, "Q") + "+" * behind for before, behind in edges]
    lines.append(last)
    assert from_base64(end.join(lines).replace("+", " ") + end) == base64.b64decode("".join(lines))


@pytest.mark.parametrize("indentation", ["  ", "    ", " \t", "\t"], ids=repr)
def test_blanks_before_lines_are_no_digits(indentation: str) -> None:
    text = base64.encodebytes(bytes(range(200))).decode()
    assert from_base64("".join(indentation + line for line in text.splitlines(keepends=True))) == bytes(range(200))


@pytest.mark.parametrize("line", ["QU\n", "QU \n", " \n", "\n"], ids=repr)
def test_many_short_lines_take_no_more_memory_than_a_few_copies_of_the_text(line: str) -> None:
    text = line * 200_000 + "QUJD"
    tracemalloc.start()
    try:
        with suppress(UndecodableImage):
            from_base64(text)
        assert tracemalloc.get_traced_memory()[1] < 5 * len(text)
    finally:
        tracemalloc.stop()


def spent_s(text: str) -> float:
    """Return the time of this process that refusing a text takes, at its best."""
    times = []
    for _ in range(5):
        before = process_time()
        with suppress(EmptyImage, UndecodableImage):
            from_base64(text)
        times.append(process_time() - before)
    return min(times)


@pytest.mark.parametrize("unit", [" ", "\t", " \n", "\n\n ", "a.", "/ ", "data:", "data:,"], ids=repr)
@pytest.mark.parametrize(("start", "end"), [("", ""), ("QUJD", "?"), ("a.", "!"), ("data:,", "?")])
def test_a_text_eight_times_as_long_takes_about_eight_times_as_long(unit: str, start: str, end: str) -> None:
    count = 2_000 // len(unit)
    short, long = (spent_s(start + unit * times * count + end) for times in (1, 8))
    assert long < 24 * short  # 64 times where each blank is compared with all others
