"""Colours of a profile become those of sRGB, and a profile that says nothing new changes nothing."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from app.imaging import colour, decode
from app.imaging.codecs import icc
from tests.support import corpus, heif, images
from tests.support.images import encoded, photo, ramp

P3 = icc.of_code_points(12, 13)
ADOBE = icc.profile(icc.Chromaticities(icc.D65, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), icc.parametric(0, 2.2))
WIDE = icc.profile(
    icc.Chromaticities((0.3457, 0.3585), (0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001)), icc.parametric(0, 1.8)
)
SRGB = icc.profile(icc.SRGB, icc.srgb_curve())
PILLOWS_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY = icc.assembled(
    b"GRAY", [(b"kTRC", icc.parametric(0, 1.0)), (b"wtpt", b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061))]
)
PROFILES = {"Display P3": P3, "Adobe RGB": ADOBE, "wide": WIDE}


def inks() -> bytes:
    """Return a profile of a press: a table of Lab for the corners of cyan, magenta, yellow and black."""
    table = b""
    for corner in range(16):
        cyan, magenta, yellow, key = (corner >> bit & 1 for bit in (3, 2, 1, 0))
        light = 1 - 0.25 * (cyan + magenta + yellow) - 0.7 * key
        table += bytes((round(255 * max(light, 0.1)), 128 + 40 * (magenta - cyan), 128 + 40 * (yellow - key)))
    curve = bytes(range(256))
    head = struct.pack(">4s4xBBBx9i", b"mft1", 4, 3, 2, *(65536 * (at % 4 == 0) for at in range(9)))
    return icc.assembled(b"CMYK", [(b"A2B0", head + curve * 4 + table + curve * 3)], kind=b"prtr", pcs=b"Lab ")


def decoded(data: bytes, resolution: int = 64) -> Any:
    return decode.decode(data, resolution=resolution, max_pixels=10**8).astype(np.int64)


def converted(image: Image.Image, profile: bytes) -> Image.Image:
    """Return the image in sRGB by LittleCMS, all of its pixels."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    found = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert found is not None
    return found


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC", "progressive JPEG"])
@pytest.mark.parametrize("name", PROFILES)
def test_a_photo_with_a_profile_is_converted_to_srgb(name: str, form: str) -> None:
    profile = PROFILES[name]
    plain = heif.heic() if form == "HEIC" else encoded(photo(), form.rpartition(" ")[2])
    if form == "HEIC":
        data = heif.heic(heif.icc(profile))
    else:
        data = encoded(photo(), form.rpartition(" ")[2], icc_profile=profile, progressive=" " in form)
    wanted = decoded(encoded(converted(photo(), profile), "PNG"))
    assert np.abs(decoded(data) - wanted).mean() < 2
    assert np.abs(decoded(plain) - wanted).mean() > 4


def with_profile(bmp: bytes, profile: bytes, kind: bytes = b"DEBM") -> bytes:
    """Return a BMP with a header of version 5 in place of the one of 40 bytes, and a profile at its end."""
    palette = bmp[54 : int.from_bytes(bmp[10:14], "little")]
    pixels = bmp[54 + len(palette) :]
    at = 124 + len(palette) + len(pixels)
    header = (
        struct.pack("<I", 124) + bmp[18:54] + bytes(16) + kind + bytes(52) + struct.pack("<III", at, len(profile), 0)
    )
    start = bmp[:10] + struct.pack("<I", 14 + 124 + len(palette))
    return start + header + palette + pixels + profile


@pytest.mark.parametrize(
    ("plain", "image"),
    [
        (encoded(photo(), "BMP"), photo()),
        (encoded(photo(mode="P"), "BMP"), photo(mode="P").convert("RGB")),
        (images.run_length_bmp(photo(mode="P")), photo(mode="P").convert("RGB")),
        (encoded(photo(mode="L"), "BMP"), photo(mode="L").convert("RGB")),
    ],
    ids=["RGB", "palette", "runs", "grey"],
)
def test_the_profile_in_a_bmp_is_applied(plain: bytes, image: Image.Image) -> None:
    wanted = decoded(encoded(converted(image, WIDE), "PNG"))
    assert np.abs(decoded(with_profile(plain, WIDE)) - wanted).mean() < 2
    for data in (with_profile(plain, WIDE, b"KNIL"), with_profile(plain, WIDE)[:-300]):
        np.testing.assert_array_equal(decoded(data), decoded(plain))


@pytest.mark.parametrize("profile", [SRGB, PILLOWS_SRGB], ids=["ours", "Pillow's"])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_profile_of_srgb_itself_changes_nothing(form: str, profile: bytes) -> None:
    np.testing.assert_array_equal(decoded(encoded(photo(), form, icc_profile=profile)), decoded(encoded(photo(), form)))
    assert colour.conversion(profile, "RGB") is None


def test_a_photo_without_a_profile_asks_for_none() -> None:
    assert colour.conversion(None, "RGB") is None
    assert colour.conversion(b"", "L") is None


@pytest.mark.parametrize(
    "profile",
    [
        b"x" * 1000,
        P3[:60],
        P3[:200],
        P3.replace(b"rTRC", b"xTRC"),
        inks(),
        P3.replace(b"mntr", b"link"),
        bytes(5_000_000),
    ],
    ids=["nonsense", "cut", "cut in its tags", "no curve", "of inks", "a link", "huge"],
)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_profile_that_does_not_fit_is_no_reason_to_refuse_good_pixels(form: str, profile: bytes) -> None:
    np.testing.assert_array_equal(decoded(encoded(photo(), form, icc_profile=profile)), decoded(encoded(photo(), form)))


def test_a_profile_in_several_segments_is_put_together_in_their_order() -> None:
    data = encoded(photo(), "JPEG")
    half = len(P3) // 2
    parts = [
        corpus.segment(0xE2, b"ICC_PROFILE\0\2\2" + P3[half:]),
        corpus.segment(0xE2, b"ICC_PROFILE\0\1\2" + P3[:half]),
    ]
    whole = decoded(encoded(photo(), "JPEG", icc_profile=P3))
    np.testing.assert_array_equal(decoded(data[:2] + b"".join(parts) + data[2:]), whole)
    assert np.abs(decoded(data[:2] + parts[0] + data[2:]) - decoded(data)).max() <= 1  # one is missing


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
def test_grey_with_a_profile_of_grey_or_of_rgb_is_converted(form: str) -> None:
    grey = Image.fromarray(ramp())
    linear = decoded(encoded(converted(grey, GREY), "PNG"))
    assert np.abs(decoded(encoded(grey, form, icc_profile=GREY)) - linear).mean() < 2
    steep = decoded(encoded(converted(grey.convert("RGB"), WIDE), "PNG"))
    assert np.abs(decoded(encoded(grey, form, icc_profile=WIDE)) - steep).mean() < 2


def keyed() -> tuple[Image.Image, dict[str, Any]]:
    """Return grey of which one shade is transparent, and how that is written."""
    return Image.fromarray(ramp() // 8 * 8), {"transparency": 128}


def faded() -> tuple[Image.Image, dict[str, Any]]:
    """Return grey that is more transparent the further down it is."""
    image = Image.fromarray(ramp())
    image.putalpha(Image.fromarray(np.ascontiguousarray(ramp(90, 120).T)))
    return image, {}


@pytest.mark.parametrize("profile", [GREY, WIDE], ids=["grey", "RGB"])
@pytest.mark.parametrize(("form", "write"), [("PNG", keyed), ("PNG", faded), ("TIFF", faded)])
def test_transparent_grey_has_the_colours_of_grey(form: str, write: Any, profile: bytes) -> None:
    image, options = write()
    white = Image.new("L", image.size, "white")
    faint = Image.fromarray(np.where(np.asarray(image) == 128, 0, 255).astype(np.uint8)) if options else image
    white.paste(image.convert("L"), mask=faint)
    found = decoded(encoded(image, form, icc_profile=profile, **options))
    np.testing.assert_array_equal(found, decoded(encoded(white, "PNG", icc_profile=profile)))
    assert np.abs(found - decoded(encoded(white, "PNG"))).mean() > 4


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_inks_are_mixed_as_their_profile_says(form: str) -> None:
    image = photo(mode="CMYK")
    wanted = decoded(encoded(converted(image, inks()), "PNG"))
    assert (
        np.abs(
            decoded(encoded(image, form, icc_profile=inks(), **({"quality": 95} if form == "JPEG" else {}))) - wanted
        ).mean()
        < 4
    )
    assert np.abs(decoded(encoded(image, form)) - wanted).mean() > 10


@pytest.mark.parametrize("form", ["JPEG", "progressive JPEG", "TIFF"])
@pytest.mark.parametrize(
    ("mode", "profile"),
    [("RGB", P3), ("RGB", WIDE), ("L", GREY), ("CMYK", inks())],
    ids=["late", "wide", "grey", "inks"],
)
def test_several_resolutions_at_once_have_the_colours_that_each_has_alone(form: str, mode: str, profile: bytes) -> None:
    kind, progressive = form.rpartition(" ")[2], form.startswith("progressive")
    data = encoded(photo(2000, 1500, mode), kind, icc_profile=profile, progressive=progressive)
    for sides in ((32, 64, 128), (128, 64, 32)):
        together = decode.located(data, resolutions=sides, max_pixels=10**8)[0]
        for side, pixels in zip(sides, together, strict=True):
            np.testing.assert_array_equal(pixels, decoded(data, side))


def chunks(*added: tuple[bytes, bytes]) -> bytes:
    data = encoded(photo(), "PNG")
    body = (struct.pack(">I", len(d)) + name + d + struct.pack(">I", zlib.crc32(name + d)) for name, d in added)
    return data[:33] + b"".join(body) + data[33:]


P3_POINTS = (b"cICP", bytes((12, 13, 0, 1)))
LINEAR = (b"gAMA", struct.pack(">I", 100_000))
USUAL = [
    (b"gAMA", struct.pack(">I", 45_455)),
    (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
]


def test_a_png_may_describe_its_colours_by_chunks() -> None:
    assert np.abs(decoded(chunks(P3_POINTS)) - decoded(encoded(converted(photo(), P3), "PNG"))).mean() < 1
    light = icc.profile(icc.SRGB, icc.parametric(0, 1.0))
    assert np.abs(decoded(chunks(LINEAR)) - decoded(encoded(converted(photo(), light), "PNG"))).mean() < 1
    for same in (
        [(b"sRGB", b"\0"), LINEAR],
        USUAL,
        [(b"gAMA", bytes(4))],
        [(b"cHRM", bytes(32))],
        [(b"cICP", b"\1\r\0\1")],
    ):
        np.testing.assert_array_equal(decoded(chunks(*same)), decoded(chunks()))


@pytest.mark.parametrize("write", [heif.heic, lambda one: heif.avif(photo(), one)], ids=["HEIC", "AVIF"])
def test_the_code_points_of_a_heif_are_those_of_a_png(write: Any) -> None:
    wanted = decoded(encoded(converted(photo(), P3), "PNG"))
    assert np.abs(decoded(write(heif.code_points(12, 13))) - wanted).mean() < 2
    np.testing.assert_array_equal(decoded(write(heif.code_points(1, 13))), decoded(write(heif.code_points(1, 1))))


@pytest.mark.parametrize(("transfer", "white"), [(16, 0.5807), (18, 0.75)], ids=["PQ", "HLG"])
def test_what_is_white_in_hdr_is_white(transfer: int, white: float) -> None:
    convert = colour.conversion(icc.of_code_points(9, transfer), "RGB")
    assert convert is not None
    shades = convert(Image.fromarray(np.array([[[round(255 * share * white)] * 3 for share in (0, 0.5, 1)]], np.uint8)))
    black, middle, brightest = np.asarray(shades)[0, :, 0].astype(int)
    assert black == 0
    assert 40 < middle < 160
    assert brightest >= 250


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_colours_of_a_steep_profile_are_converted_before_they_are_averaged(form: str) -> None:
    red, blue = np.arange(400) % 8 < 4, np.arange(400) % 8 >= 4  # stripes wide enough to be there at half the size
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, red], stripes[:, blue] = (250, 30, 30), (20, 60, 200)
    image = Image.fromarray(stripes)
    wanted = decoded(encoded(converted(image, WIDE), "PNG"))
    assert np.abs(decoded(encoded(image, form, icc_profile=WIDE)) - wanted).mean() < 3
    files = encoded(image, "PNG", icc_profile=WIDE), encoded(converted(image, WIDE), "PNG")
    drawn, same = (decode.whole(one, longest=50, max_pixels=10**8) for one in files)  # a stripe is half a pixel
    np.testing.assert_array_equal(drawn, same)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
def test_a_profile_is_read_up_to_the_same_size_in_every_format(form: str) -> None:
    def shown(profile: bytes) -> Any:
        if form == "HEIC":
            return decoded(heif.heic(heif.icc(profile)) if profile else heif.heic())
        return decoded(encoded(photo(), form, **({"icc_profile": profile} if profile else {})))

    room = 4 * 2**20 - len(P3)
    np.testing.assert_array_equal(shown(P3 + bytes(room)), shown(P3))
    np.testing.assert_array_equal(shown(P3 + bytes(room + 1)), shown(b""))


@pytest.mark.parametrize(
    ("width", "height", "factor"), [(300, 200, 2), (200, 300, 2), (300, 199.5, 1), (900, 300, 3), (50, 50, 1)]
)
def test_what_is_converted_early_keeps_the_pixels_that_are_needed_on_its_shorter_side(
    width: float, height: float, factor: int
) -> None:
    assert colour.reduction((10, 20, 10 + width, 20 + height), needed=100) == factor


def other_profiles() -> list[bytes]:
    return [icc.profile(icc.SRGB, icc.parametric(0, 1.5 + number / 100)) for number in range(100)]


def test_only_so_many_conversions_are_kept_and_those_that_are_asked_for_again() -> None:
    kept = colour.conversion(P3, "RGB")
    for profile in other_profiles():
        colour.conversion(profile, "RGB")
        assert colour.conversion(P3, "RGB") is kept
    assert len(colour._conversions) == colour._KEPT


def test_a_conversion_that_other_threads_push_out_is_not_forgotten_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pushed(dict[Any, Any]):
        """Conversions of which another thread, wherever it may, removes all as soon as one of them was looked up."""

        def __contains__(self, key: object) -> bool:
            found = super().__contains__(key)
            if colour._lock.acquire(blocking=False):
                self.clear()
                colour._lock.release()
            return found

    kept = colour.conversion(P3, "RGB")
    monkeypatch.setattr(colour, "_conversions", Pushed(colour._conversions))
    assert colour.conversion(P3, "RGB") is kept is not None


@pytest.mark.parametrize("size", [(60, 5_000), (5_000, 300), (300, 200), (7, 7)])
def test_what_is_far_from_the_box_is_not_converted_and_moves_no_colour(size: tuple[int, int]) -> None:
    convert = colour.conversion(WIDE, "RGB")
    assert convert is not None
    image, box = Image.effect_noise(size, 90).convert("RGB"), decode.square(*size)
    factor = colour.reduction(box, needed=74)
    small, part = convert.early(image, box, factor)
    side = min(size) / factor + 8
    assert small.width * small.height < 1.5 * side * side
    left, top, right, bottom = (edge / factor for edge in box)
    all_of_it = convert(image.reduce(factor)).resize((32, 32), Image.Resampling.BILINEAR, (left, top, right, bottom))
    found = small.resize((32, 32), Image.Resampling.BILINEAR, part)
    difference = np.asarray(found).astype(int) - np.asarray(all_of_it)
    assert np.abs(difference).max() <= 1  # of a tall image Pillow scales the height first, which rounds otherwise
