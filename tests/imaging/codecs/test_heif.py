"""HEIC and AVIF: the primary image, turned once, on white, and no more work than its size says."""

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.Image import Transpose

from app.errors import ServiceError, UndecodableImage, UnsupportedImage
from app.imaging import decode
from app.imaging.bounds import LargeImage
from app.imaging.codecs.heif import bitstreams, boxes
from app.imaging.codecs.heif import image as heif
from app.imaging.formats import kind_of
from tests.support import corpus, images, needs
from tests.support import heif as files
from tests.support.data import SHARED
from tests.support.images import encoded, photo, ramp

R = 64
MOST = 10**8


def decoded(data: bytes, max_pixels: int = MOST) -> Any:
    return decode.decode(data, resolution=R, max_pixels=max_pixels).astype(np.int64)


def shown(image: Image.Image) -> Any:
    return decoded(encoded(image, "PNG"))


def heic(*properties: bytes) -> bytes:
    return files.heic(*properties)


def avif(*properties: bytes) -> bytes:
    return files.avif(photo(), *properties)


def tiled() -> Image.Image:
    whole = Image.new("RGB", (240, 180))
    for left in (0, 120):
        for top in (0, 90):
            whole.paste(photo(), (left, top))
    return whole


@pytest.mark.parametrize("write", [heic, avif])
@pytest.mark.parametrize(
    ("properties", "turns"),
    [
        ([], []),
        ([files.rotated(1)], [Transpose.ROTATE_90]),
        ([files.rotated(2)], [Transpose.ROTATE_180]),
        ([files.rotated(3)], [Transpose.ROTATE_270]),
        ([files.mirrored(0)], [Transpose.FLIP_TOP_BOTTOM]),
        ([files.mirrored(1)], [Transpose.FLIP_LEFT_RIGHT]),
        ([files.rotated(1), files.mirrored(1)], [Transpose.ROTATE_90, Transpose.FLIP_LEFT_RIGHT]),
    ],
    ids=lambda value: "" if isinstance(value, list) and value and isinstance(value[0], bytes) else None,
)
def test_what_the_container_turns_is_turned(write: Any, properties: list[bytes], turns: list[Transpose]) -> None:
    image = photo()
    for turn in turns:
        image = image.transpose(turn)
    assert np.abs(decoded(write(*properties)) - shown(image)).mean() < 2


@pytest.mark.parametrize(("picture", "brand"), [("hvc1", b"heic"), ("av01", b"avif")])
def test_exif_repeats_what_the_container_says_and_is_not_applied_again(picture: str, brand: bytes) -> None:
    exif = bytes(4) + images.orientation(8).tobytes()[6:]
    for turn, wanted in ((files.rotated(1), photo().transpose(Transpose.ROTATE_90)), (files.rotated(0), photo())):
        one = files.picture(turn) if picture == "hvc1" else files.av1_part(files.av1(photo()), turn)
        data = files.heif([one, files.Part(b"Exif", exif, [], {b"cdsc": [1]})], brands=(brand, b"mif1"))
        assert np.abs(decoded(data) - shown(wanted)).mean() < 2


@pytest.mark.parametrize("write", [heic, avif])
def test_what_the_container_cuts_off_does_not_show(write: Any) -> None:
    assert np.abs(decoded(write(files.cropped(60, 40, 10, 5))) - shown(photo().crop((40, 30, 100, 70)))).mean() < 2


def test_an_image_of_tiles_is_put_together() -> None:
    for tile, brand in ((files.picture(), b"heic"), (files.av1_part(files.av1(photo())), b"avif")):
        data = files.heif(files.grid(2, 2, tile, 240, 180, files.rotated(1)), brands=(brand, b"mif1"))
        assert np.abs(decoded(data) - shown(tiled().transpose(Transpose.ROTATE_90))).mean() < 2


def test_ten_bits_are_scaled_to_eight() -> None:
    assert np.abs(decoded(files.ten_bit_heic()) - shown(photo())).max() <= 3


def test_transparency_lies_on_white() -> None:
    image = photo()
    image.putalpha(Image.fromarray(ramp()))
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    assert np.abs(decoded(files.transparent_heic()) - shown(white)).mean() < 2
    assert np.abs(decoded(encoded(image, "AVIF")) - shown(white)).mean() < 2


def test_the_primary_image_counts_and_not_the_first() -> None:
    other = files.av1_part(files.av1(photo().transpose(Transpose.ROTATE_180)))
    data = files.heif([other, files.av1_part(files.av1(photo()))], brands=(b"avif", b"mif1"), primary=2)
    assert np.abs(decoded(data) - shown(photo())).mean() < 2


@pytest.mark.parametrize(
    ("brands", "kind"),
    [
        ((b"heic", b"mif1"), "HEIC"),
        ((b"mif1", b"heic"), "HEIC"),
        ((b"heix", b"mif1"), "HEIC"),
        ((b"mif1", b"miaf"), "HEIC"),
        ((b"avif", b"mif1"), "AVIF"),
        ((b"mif1", b"avif", b"miaf"), "AVIF"),
    ],
)
def test_any_order_of_brands_is_read(brands: tuple[bytes, ...], kind: str) -> None:
    one = files.picture() if kind == "HEIC" else files.av1_part(files.av1(photo()))
    data = files.heif([one], brands=brands)
    assert kind_of(data) == kind
    assert np.abs(decoded(data) - shown(photo())).mean() < 2


@pytest.mark.parametrize(("kind", "name"), [(b"jpeg", "JPEG"), (b"avc1", "H.264"), (b"abcd", "something unknown")])
def test_other_codings_are_named(kind: bytes, name: str) -> None:
    with pytest.raises(UnsupportedImage, match=rf"coded as {name}; HEVC \(HEIC\) and AV1 \(AVIF\) are read"):
        decoded(files.heif([files.Part(kind, b"x", [files.size()])]))


def test_images_over_one_another_are_refused_with_a_way_out() -> None:
    with pytest.raises(UnsupportedImage, match=r"several images over one another, .*; save it as one"):
        decoded(files.heif([files.overlay(200, 2), files.picture()]))


def test_a_sequence_without_a_still_image_says_so() -> None:
    with pytest.raises(UndecodableImage, match="no still image"):
        decoded(files.box(b"ftyp", b"hevc", bytes(4), b"hevc") + files.box(b"moov"))


VAST_MASK = replace(
    files.mask(files.ALPHA, references={b"auxl": [3]}),
    properties=[files.box(b"hvcC", files.hevc_announcing(9_000, 9_000)), files.size(), files.GREY_BITS, files.ALPHA],
)


@pytest.mark.parametrize(
    "data",
    [
        files.heic(configuration=files.hevc_announcing(9_000, 9_000)),
        files.avif(Image.new("RGB", (2_000, 2_000)), shown=files.size(64, 64)),
        files.heif([files.Part(b"iden", b"", [files.size()], {b"dimg": [1]})]),
        files.heif([files.whole(2), *files.mosaic([3], files.picture()), VAST_MASK]),
    ],
    ids=["HEVC", "AV1", "itself", "the transparency of a tile of a tile"],
)
def test_a_stream_larger_than_its_container_says_is_refused_before_it_is_decoded(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_decoding(monkeypatch)
    with pytest.raises((UndecodableImage, UnsupportedImage)):
        decoded(data)


@pytest.mark.parametrize("wide", [False, True])
def test_the_size_that_a_grid_gives_itself_is_bounded_wherever_it_is(
    wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sized(side: int) -> list[files.Part]:
        size = struct.pack(">II" if wide else ">HH", side, side)
        whole, *tiles = files.grid(1, 2, files.picture(shown=files.size(64, 64)), 64, 64)
        return [replace(whole, data=bytes((0, wide, 0, 1)) + size), *tiles]

    no_decoding(monkeypatch)
    with pytest.raises(UndecodableImage):  # the primary image has the size that it says, so that it is known
        decoded(files.heif(sized(65)))
    grid, *tiles = sized(4_000)
    inner = replace(grid, references={b"dimg": [3, 4]})
    with pytest.raises(UndecodableImage, match="far more work"):
        decoded(files.heif([replace(files.whole(2), properties=[files.size(64, 64)]), inner, *tiles]))


class Watched(bytes):
    """A file that counts how many of its bytes are looked at."""

    seen = 0

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        self.seen += len(found) if isinstance(key, slice) else 1
        return found


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    for decoder in ("_by_libheif", "_by_libavif"):
        monkeypatch.setattr(heif, decoder, lambda *_: pytest.fail("it was decoded"))


LONG = files.COLOUR_PICTURE + files.box(b"free", bytes(20_000))
MANY = range(2, 802)
COSTLY = {
    "in pieces": files.heif([files.picture(pieces=[(0, len(LONG))] * 2_000)]),
    "in large pieces": files.heif([files.picture(data=LONG, pieces=[(0, len(LONG))] * 32)]),
    "a tile many times": files.heif(files.mosaic([2] * 9_000, files.picture(data=LONG))),
    "a profile many times": files.heif(
        files.mosaic([2] * 9_000, files.picture(*[files.icc(bytes(20_000))] * 200)), shared=True
    ),
    "tiles that overlap": files.heif(
        files.mosaic(MANY, *(files.picture(data=LONG, pieces=[(at, 20_000)]) for at in MANY)), shared=True
    ),
    "a configuration of many tiles": files.heif(
        files.mosaic(MANY, *(files.picture(configuration=LONG, data=struct.pack(">II", 4, at) * 9) for at in MANY)),
        shared=True,
    ),
}


@pytest.mark.parametrize("data", COSTLY.values(), ids=COSTLY)
def test_what_a_file_costs_is_found_out_by_looking_at_it_a_few_times(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_decoding(monkeypatch)
    watched = Watched(data)
    with pytest.raises(UndecodableImage, match="far more work"):
        heif.opened(watched, MOST, large=True)
    assert watched.seen < 4 * len(data)


def test_a_file_has_no_more_units_however_many_its_streams_are(monkeypatch: pytest.MonkeyPatch) -> None:
    units: list[bitstreams.Painted] = []
    read = bitstreams.hevc_pixels

    def counted(configuration: bytes, data: bytes) -> Iterator[bitstreams.Painted]:
        for one in read(configuration, data):
            units.append(one)
            yield one

    monkeypatch.setattr(bitstreams, "hevc_pixels", counted)
    tiles = [files.picture(data=bytes((0, 0, 0, 1, number)) * 3_000) for number in range(10)]
    with pytest.raises(UndecodableImage, match="far more work"):
        decoded(files.heif(files.mosaic(range(2, 12), *tiles)))
    assert len(units) <= 20_001


def test_parts_are_counted_in_all_images_together(monkeypatch: pytest.MonkeyPatch) -> None:
    visited: list[int] = []

    class Noted(dict[int, boxes.Item]):
        def get(self, number: int, *default: Any) -> Any:
            visited.append(number)
            return super().get(number, *default)

    def noted(raw: bytes) -> boxes.Items | None:
        listed = boxes.items(raw)
        return listed and boxes.Items(listed.primary, Noted(listed.all))

    monkeypatch.setattr(heif, "items", noted)
    masks = [files.Part(b"iden", b"", [files.ALPHA], {b"auxl": [1], b"dimg": [2]})] * 1_500
    with pytest.raises(UndecodableImage, match="far more work"):
        decoded(files.heif([files.picture(), files.Part(b"grid", b"", [], {b"dimg": [3] * 9_000}), *masks]))
    assert len(visited) < 20_000


@pytest.mark.parametrize("tile", [files.picture(), files.av1_part(files.av1(photo()))], ids=["HEVC", "AV1"])
def test_tiles_that_are_alike_may_share_their_bytes(tile: files.Part) -> None:
    brand = b"heic" if tile.kind == b"hvc1" else b"avif"
    data = files.heif(files.grid(2, 2, tile, 240, 180), brands=(brand, b"mif1"), shared=True)
    assert np.abs(decoded(data) - shown(tiled())).mean() < 2


@pytest.mark.parametrize("tile", [files.picture(), files.av1_part(files.av1(photo()))], ids=["HEVC", "AV1"])
def test_a_picture_in_pieces_is_put_together(tile: files.Part) -> None:
    brand, size = b"heic" if tile.kind == b"hvc1" else b"avif", len(tile.data)
    pieces = [(at, min(100, size - at)) for at in range(0, size, 100)]
    assert (
        np.abs(decoded(files.heif([replace(tile, pieces=pieces)], brands=(brand, b"mif1"))) - shown(photo())).mean() < 2
    )


BEHIND = {
    "a byte": b"\0",
    "zeros": bytes(100),
    "short boxes": b"\0\0\0\5abcd" * 9,
    "half a long box": b"\0\0\0\1abcd" + bytes(4),
    "noise": corpus.noise(5_000),
    "a photo": encoded(photo(), "JPEG"),
}


@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
@pytest.mark.parametrize("write", [heic, avif])
def test_what_is_behind_the_boxes_does_not_matter(write: Any, behind: bytes) -> None:
    np.testing.assert_array_equal(decoded(write() + behind), decoded(write()))


@pytest.mark.parametrize("strict", [False, True])
def test_boxes_without_end_are_refused(strict: bool) -> None:
    file = files.box(b"free") * 4_000
    assert len([*boxes.boxes(file, 0, len(file), strict=strict)]) == 4_000
    with pytest.raises(UndecodableImage, match="far more work"):
        list(boxes.boxes(file + files.box(b"free"), 0, len(file) + 8, strict=strict))
    with pytest.raises(UndecodableImage):
        decoded(files.heif([files.picture()], more=[files.box(b"free")] * 4_000))


def in_two_ways() -> dict[str, bytes]:
    """Return files of which one decoder reads this, and another that."""
    photos = files.heif([files.picture()] * 2)
    second = photos.index(b"infe", photos.index(b"infe") + 4)
    places = photos.index(b"iloc")
    return {
        "made of many, then of one": files.heif(files.nested(16), references=[(1, b"dimg", [3, 4]), (1, b"dimg", [2])]),
        "made of one, then of many": files.heif(files.nested(16), references=[(1, b"dimg", [2]), (1, b"dimg", [3, 4])]),
        "two lists of references": files.heif([files.picture()], more=[files.full(b"iref")]),
        "two lists of everything": files.heic() + files.heic()[24:],
        "two lists, the second hidden": files.heic() + b"\0\0\0\5x" + files.heic()[24:],
        "two lists, the second well hidden": files.heic() + b"\0\0\0\4" + files.heic()[24:],
        "an item of two kinds": corpus.patched(photos, second + 8, ">H", 1),
        "an item in two places": corpus.patched(photos, places + 12 + 14, ">H", 1),
        "numbers of two bytes": corpus.patched(photos, places + 8, ">B", 0x22),
    }


@pytest.mark.parametrize("data", in_two_ways().values(), ids=in_two_ways())
def test_what_decoders_may_read_in_two_ways_is_refused(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    no_decoding(monkeypatch)
    with pytest.raises(UndecodableImage):
        decoded(data)


def test_metadata_that_belongs_to_many_images_is_not_copied_for_each() -> None:
    pictures = [files.picture()] * 100
    shared = files.Part(b"Exif", bytes(10**6), [], {b"cdsc": [*range(1, 101)]})
    with pytest.raises(UndecodableImage, match="far more work"):
        decoded(files.heif([*pictures, shared]))


def test_metadata_that_belongs_to_no_image_is_not_read_many_times(monkeypatch: pytest.MonkeyPatch) -> None:
    no_decoding(monkeypatch)
    exif = [files.Part(b"Exif", bytes(10**6))] * 100
    with pytest.raises(UndecodableImage, match="far more work"):
        decoded(files.heif([files.picture(), *exif], shared=True))


@pytest.mark.parametrize("frames", [1, 4, 8])
def test_an_avif_may_have_the_frames_of_several_layers(frames: int) -> None:
    flat = files.av1(Image.new("RGB", (1_000, 1_000), (200, 100, 50)), quality=30, speed=10)
    layered = replace(flat, data=flat.data * frames)
    data = files.heif([files.av1_part(layered, shown=files.size(1_000, 1_000))], brands=(b"avif", b"mif1"))
    assert np.abs(decoded(data) - (200, 100, 50)).max() < 5


def test_a_heic_may_have_the_slices_of_several_processors() -> None:
    assert decoded(files.heic(data=files.COLOUR_PICTURE + files.later_slice() * 16)).shape == (R, R, 3)


@pytest.mark.parametrize(("megapixels", "slices"), [(50, 12), (48, 6), (33, 12), (24, 24)])
def test_a_large_heic_may_have_slices_too(megapixels: int, slices: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heif, "_by_libheif", lambda *_: photo())
    decoded(sliced(megapixels, slices), max_pixels=50_331_648)


@pytest.mark.parametrize(("megapixels", "slices"), [(50, 16), (12, 32)])
def test_the_slices_of_a_heic_are_bounded(megapixels: int, slices: int, monkeypatch: pytest.MonkeyPatch) -> None:
    no_decoding(monkeypatch)
    with pytest.raises(UndecodableImage, match="far more work"):
        decoded(sliced(megapixels, slices), max_pixels=50_331_648)


def sliced(megapixels: int, slices: int) -> bytes:
    """Return a HEIC that says that it is so large and has so many slices."""
    width, height = 1_000 * megapixels, 1_000
    data = files.COLOUR_PICTURE + files.later_slice() * (slices - 1)
    configuration = files.hevc_announcing(width, height)
    return files.heic(configuration=configuration, data=data, shown=files.size(width, height))


def deep_avif(*properties: bytes, shown: bytes) -> bytes:
    """Return an AVIF that says that it has 10 bits a colour."""
    stream = files.av1(photo())
    said = stream.configuration[:2] + bytes((stream.configuration[2] | 0x40,)) + stream.configuration[3:]
    return files.heif([files.av1_part(replace(stream, configuration=said), *properties, shown=shown)])


def beside(kind: bytes) -> bytes:
    """Return what says of which kind an auxiliary image is."""
    return files.full(b"auxC", kind + b"\0")


GAIN_MAP = beside(b"urn:com:apple:photo:2020:aux:hdrgainmap")
DEPTH_MAP = beside(b"urn:mpeg:hevc:2015:auxid:2")
MATTE = beside(b"urn:com:apple:photo:2018:aux:portraiteffectsmatte")


def faded(shown: bytes, mask: bytes, kind: bytes = files.ALPHA) -> bytes:
    alpha = files.mask(kind, references={b"auxl": [1]})
    sizes = [mask if one[4:8] == b"ispe" else one for one in alpha.properties]
    return files.heif([files.picture(shown=shown), replace(alpha, properties=sizes)])


@pytest.mark.parametrize(
    ("large", "small"),
    [
        (files.heic(shown=files.size(4_000, 3_300)), files.heic(shown=files.size(4_032, 3_024))),
        (
            files.heic(configuration=files.TEN_BIT_CONFIGURATION, shown=files.size(3_001, 3_000)),
            files.heic(configuration=files.TEN_BIT_CONFIGURATION, shown=files.size(3_000, 3_000)),
        ),
        (deep_avif(shown=files.size(3_001, 3_000)), deep_avif(shown=files.size(3_000, 3_000))),
        (
            faded(files.size(2_000, 2_000), files.size(3_001, 3_000)),
            faded(files.size(2_000, 2_000), files.size(3_000, 3_000)),
        ),
        *(
            (
                faded(files.size(3_001, 3_000), files.size(), beside(kind)),
                faded(files.size(4_032, 3_024), files.size(), other),
            )
            for kind, other in (
                (b"urn:mpeg:hevc:2015:auxid:1", GAIN_MAP),
                (b"urn:mpeg:avc:2015:auxid:1", DEPTH_MAP),
                (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", MATTE),
            )
        ),
    ],
    ids=[
        "8 bits",
        "10 bits of HEVC",
        "10 bits of AV1",
        "transparency larger than the picture",
        "transparency of HEVC, or a gain map",
        "transparency of H.264, or a depth map",
        "transparency of any coding, or a matte",
    ],
)
def test_a_large_one_waits_for_who_has_the_memory(large: bytes, small: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for decoder in ("_by_libheif", "_by_libavif"):
        monkeypatch.setattr(heif, decoder, lambda *_: photo())
    with pytest.raises(LargeImage):
        decode.decode(large, resolution=R, max_pixels=MOST, large=False)
    decode.decode(small, resolution=R, max_pixels=MOST, large=False)


@pytest.mark.parametrize("kind", [GAIN_MAP, DEPTH_MAP, MATTE], ids=["gain map", "depth map", "matte"])
def test_what_is_beside_a_heic_and_is_not_its_transparency_is_not_decoded(kind: bytes) -> None:
    unreadable = replace(files.mask(kind, references={b"auxl": [1]}), data=b"\0\0\0\5noise")
    np.testing.assert_array_equal(decoded(files.heif([files.picture(), unreadable])), decoded(heic()))


@needs.REFERENCE_DATA.mark()
@pytest.mark.parametrize(
    ("name", "size"),
    [("small.heic", (300, 200)), ("small.heif", (640, 426)), ("hopper.avif", (128, 128)), ("turned.avif", (640, 427))],
)
def test_files_of_others_are_read(name: str, size: tuple[int, int]) -> None:
    raw = (SHARED / "odd" / name).read_bytes()
    with heif.opened(raw, MOST, large=True) as image:
        assert sorted(image.size) == sorted(size)
    assert decoded(raw).std() > 20


SEEDS = [
    files.heic(),
    files.transparent_heic(),
    avif(files.rotated(1)),
    files.heif(files.grid(2, 2, files.picture(), 240, 180)),
]


@settings(deadline=None, max_examples=300)
@given(
    data=st.sampled_from(SEEDS),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), max_size=8),
    near=st.sampled_from([60, 400, 10**9]),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_damaged_files_give_pixels_or_our_error(
    data: bytes, flips: list[tuple[float, int]], near: int, kept: float
) -> None:
    damaged = bytearray(data)
    for place, bit in flips:
        damaged[int(place * min(near, len(damaged)))] ^= 1 << bit
    with suppress(ServiceError):
        assert decoded(bytes(damaged[: int(kept * len(damaged))]), max_pixels=10**6).shape == (R, R, 3)
