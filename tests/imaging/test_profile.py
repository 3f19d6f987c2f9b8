"""Tags that would take LittleCMS any time or memory are kept from it, and all others are as they were."""

import struct
from io import BytesIO
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ImageCms

from app.imaging import colour
from app.imaging.codecs import icc
from app.imaging.profile import checked
from tests.imaging.test_colour import ADOBE, GREY, P3, PILLOWS_SRGB, WIDE, inks
from tests.support.images import photo
from tests.support.profiles import IDENTITY, absent_table, matrix, powers, program

FLOATS = [b"D2B0", b"D2B1", b"D2B2", b"D2B3"]
KINDS = [b"mft1", b"mft2", b"mAB "]


def tags(profile: bytes) -> dict[bytes, bytes]:
    """Return what a profile holds, by name."""
    count = int.from_bytes(profile[128:132], "big")
    rows = [struct.unpack_from(">4sII", profile, 132 + 12 * at) for at in range(count)]
    return {name: profile[start : start + size] for name, start, size in rows}


def with_tags(profile: bytes, added: dict[bytes, bytes]) -> bytes:
    """Return a profile with tags beside its own."""
    colours, kind, pcs = profile[16:20], profile[12:16], profile[20:24]
    return icc.assembled(colours, list((tags(profile) | added).items()), kind=kind, pcs=pcs)


def wide_program() -> bytes:
    """Return the steps that do what the curves and primaries of the wide profile do."""
    held = tags(WIDE)
    columns = [struct.unpack(">3i", held[name][8:20]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    return program(powers(1.8), matrix(tuple((np.array(columns).T / 65536).ravel())))


def lab_table() -> bytes:
    """Return a table of Lab for the corners of red, green and blue: as light as their sum, and pale."""
    table = b""
    for red, green, blue in product((0, 1), repeat=3):
        table += bytes((85 * (red + green + blue), 128 + 40 * (red - green), 128 + 40 * (green - blue)))
    curves = bytes(range(256)) * 3
    head = struct.pack(">4s4xBBBx9i", b"mft1", 3, 3, 2, *(value << 16 for value in IDENTITY))
    return head + curves + table + curves


TABLE = icc.assembled(b"RGB ", [(b"A2B0", lab_table())], pcs=b"Lab ")


def by_littlecms(profile: bytes) -> NDArray[np.int64]:
    """Return the photo in sRGB, as the profile says to LittleCMS."""
    source = ImageCms.ImageCmsProfile(BytesIO(profile))
    found = ImageCms.profileToProfile(photo(), source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert found is not None
    return np.asarray(found).astype(np.int64)


def by_us(profile: bytes) -> NDArray[np.int64]:
    convert = colour.conversion(profile, "RGB")
    assert convert is not None
    return np.asarray(convert(photo())).astype(np.int64)


@pytest.mark.parametrize(
    "profile", [P3, ADOBE, WIDE, GREY, PILLOWS_SRGB, inks(), TABLE], ids=lambda one: f"{len(one)} bytes"
)
def test_a_profile_of_curves_primaries_and_tables_is_left_as_it_is(profile: bytes) -> None:
    assert checked(profile) == profile


def test_a_profile_with_a_program_beside_its_curves_has_nearly_the_same_colours() -> None:
    both = with_tags(WIDE, {b"D2B0": wide_program()})
    plain = np.asarray(photo()).astype(np.int64)
    np.testing.assert_array_equal(by_us(both), by_littlecms(WIDE))
    assert np.abs(by_us(both) - by_littlecms(both)).mean() < 1
    assert np.abs(by_us(both) - plain).mean() > 4


def test_a_profile_with_a_program_beside_its_table_has_the_colours_of_the_table() -> None:
    both = with_tags(TABLE, {b"D2B0": program(powers(3), matrix((0, 0, 1, 0, 1, 0, 1, 0, 0)))})
    np.testing.assert_array_equal(by_us(both), by_littlecms(TABLE))


def test_a_profile_of_nothing_but_a_program_changes_nothing() -> None:
    assert colour.conversion(icc.assembled(b"RGB ", [(b"D2B0", wide_program())]), "RGB") is None


@pytest.mark.parametrize("name", FLOATS)
def test_littlecms_gets_no_program(name: bytes) -> None:
    found = tags(checked(with_tags(WIDE, {name: wide_program()})))
    assert name not in found
    assert {one: found[one] for one in tags(WIDE)} == tags(WIDE)


@pytest.mark.parametrize("name", [b"A2B0", b"A2B1"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_table_must_be_in_its_file(kind: bytes, name: bytes) -> None:
    with pytest.raises(ValueError, match="table"):
        checked(with_tags(WIDE, {name: absent_table(kind)}))
    assert colour.conversion(with_tags(WIDE, {b"A2B0": absent_table(kind)}), "RGB") is None


def test_a_table_is_found_where_littlecms_finds_it_or_refused() -> None:
    tag = bytearray(absent_table(b"mAB "))
    tag[24:28] = (2**32 - 8).to_bytes(4, "big")  # before the tag, in arithmetic of 32 bits
    with pytest.raises(Exception, match="unpack"):
        checked(with_tags(WIDE, {b"A2B0": bytes(tag)}))


def test_a_tag_without_a_table_has_none_that_is_too_large() -> None:
    tag = bytearray(absent_table(b"mAB "))
    tag[24:28] = bytes(4)
    assert checked(profile := with_tags(WIDE, {b"A2B0": bytes(tag)})) == profile


def test_a_profile_of_more_tags_than_littlecms_reads_is_refused_before_they_are_looked_at() -> None:
    with pytest.raises(ValueError, match="101 tags"):
        checked(icc.assembled(b"RGB ", [(b"%04d" % at, b"") for at in range(101)]))
