"""A file of another format is named by its first bytes, as the specification of that format has them."""

from base64 import b64encode, urlsafe_b64encode

import pytest

from app.errors import UnsupportedImage
from app.imaging.formats import kind_of

NAMED = {
    b"%!PS-Adobe-3.0": "PostScript",
    b"\xff\x0a\xfa\x5f": "JPEG XL",
    b"\xff\x4f\xff\x51\0\x2f": "JPEG 2000",
    b"\0\0\2\0\1\0\x20\x20": "a cursor (CUR)",
    b"qoif\0\0\0\x10": "QOI",
    b"DDS \x7c\0\0\0": "a DDS texture",
    b"v/1\1\2\0\0\0": "OpenEXR",
    b"#?RADIANCE\n": "Radiance HDR",
    b"gimp xcf v011": "a GIMP document (XCF)",
    b"FUJIFILMCCD-RAW 0201": "a Fujifilm raw photo",
    b"IIRO\x08\0\0\0": "an Olympus raw photo",
    b"IIRS\x08\0\0\0": "an Olympus raw photo",
    b"IIU\0\x18\0\0\0": "a Panasonic raw photo",
    b"BPG\xfb\0": "BPG",
    b"\x1a\x45\xdf\xa3\x9f\x42": "a WebM or Matroska video",
    b"RIFF\x24\0\0\0AVI LIST": "an AVI video",
    b"PK\3\4\x14\0": "a ZIP archive",
    b"\x1f\x8b\x08\0": "gzip",
    b"iVBORw0KGgoAAAANSUhEUg": "base64 text; send the decoded bytes",
    b64encode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"): "base64 text; send the decoded bytes",
    urlsafe_b64encode(b"\xff\xd8\xff\xe0" + 10 * b"\xff"): "base64 text; send the decoded bytes",
    b64encode(b"RIFF\xfb\xff\0\0WEBPVP8 " + bytes(99)): "base64 text; send the decoded bytes",
    b"data:image/png;base64,": "a data URL; send the decoded bytes",
    b"\0\0\0\x14ftypM4A \0\0\0\0": "an M4A sound",
    b"\0\0\0\x14ftyp3gp5\0\0\0\0": "a 3GP video",
    b"\0\0\0\x14ftypjp2 \0\0\0\0": "JPEG 2000",
    b"\xef\xbb\xbf\n <!DOCTYPE html>": "SVG, HTML or XML",
    **{b"P%d\n2 2\n" % digit: f"P{name}M" for digit, name in zip(range(1, 7), "BGPBGP", strict=True)},
    b"P7\nWIDTH 2\n": "PAM",
}


@pytest.mark.parametrize(("head", "name"), NAMED.items())
def test_another_format_is_named(head: bytes, name: str) -> None:
    for data in (head, head + bytes(300)):
        with pytest.raises(UnsupportedImage) as caught:
            kind_of(data)
        assert caught.value.detail.endswith(f"; it looks like {name}")


@pytest.mark.parametrize("head", [b"P8\n", b"P1x", b"Photo", b"A_long_name_of_a_file", b"\0BPG\xfb", b"text <b>"])
def test_nothing_is_named_that_only_resembles_a_format(head: bytes) -> None:
    with pytest.raises(UnsupportedImage) as caught:
        kind_of(head)
    assert "looks like" not in caught.value.detail


BRANDS = {b"avif": "AVIF", b"avis": "AVIF", b"mif1": "HEIC", b"mif2": "HEIC", b"msf1": "HEIC", b"miaf": "HEIC"} | {
    b"he" + rest: "HEIC" for rest in (b"ic", b"ix", b"im", b"is", b"vc", b"vx", b"vm", b"vs")
}


@pytest.mark.parametrize(("brand", "kind"), BRANDS.items())
def test_a_heif_is_what_its_brands_say_the_coding_before_the_container(brand: bytes, kind: str) -> None:
    assert kind_of(b"\0\0\0\x14ftyp" + brand + bytes(4) + brand) == kind
    assert kind_of(b"\0\0\0\x18ftypmif1" + bytes(4) + b"mif1" + brand) == kind
