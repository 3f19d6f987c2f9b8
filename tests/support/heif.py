"""HEIC and AVIF files of the tests' own making: a writer of boxes (ISO/IEC 23008-12) around pictures coded before.

Pillow writes AVIF and nothing here writes HEVC, so that three pictures of `tests.support.images` are kept as x265 coded
them: `photo()`, the same with 10 bits a colour, and `ramp()`.
"""

import base64
import io
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from PIL import Image

WIDTH, HEIGHT = 120, 90  # of the pictures kept here


@dataclass(frozen=True)
class Part:
    """An item of a file: its type, its bytes, the boxes of its properties, and the numbers of items it refers to.

    The file says that the item consists of these pieces of its bytes, given as start and length; by default of all.
    """

    kind: bytes
    data: bytes
    properties: Sequence[bytes] = ()
    references: dict[bytes, list[int]] = field(default_factory=dict)
    pieces: Sequence[tuple[int, int]] = ()


def box(kind: bytes, *content: bytes) -> bytes:
    """Return a box."""
    data = b"".join(content)
    return struct.pack(">I4s", 8 + len(data), kind) + data


def full(kind: bytes, *content: bytes, version: int = 0, flags: int = 0) -> bytes:
    """Return a box with a version and flags."""
    return box(kind, struct.pack(">I", version << 24 | flags), *content)


def heif(
    parts: Sequence[Part],
    *,
    brands: Sequence[bytes] = (b"heic", b"mif1"),
    primary: int = 1,
    shared: bool = False,
    references: Sequence[tuple[int, bytes, list[int]]] = (),
    more: Sequence[bytes] = (),
) -> bytes:
    """Return a file of items, numbered from 1 in order.

    What several items have, bytes or properties, is there once if it is `shared`, as libavif writes it. References
    beside those of the items, each from an item, of a kind, to others, and more boxes come last.
    """
    start = box(b"ftyp", brands[0], bytes(4), *brands)
    stored = [part.data for part in parts]
    places = 8  # bytes of the head of `mdat`
    meta = b""
    for _ in range(2):  # where the bytes are depends on how long the boxes before them are
        offset = len(start) + len(meta) + places
        meta = full(
            b"meta",
            full(b"hdlr", bytes(4), b"pict", bytes(13)),
            full(b"pitm", struct.pack(">H", primary)),
            _locations(parts, offset, shared),
            full(b"iinf", struct.pack(">H", len(parts)), *(_entry(*one) for one in enumerate(parts, 1))),
            _references(parts, references),
            _properties(parts, shared),
            *more,
        )
    return start + meta + box(b"mdat", *(dict.fromkeys(stored) if shared else stored))


def _locations(parts: Sequence[Part], offset: int, shared: bool) -> bytes:
    entries = b""
    places: dict[bytes | int, int] = {}
    for number, part in enumerate(parts, 1):
        key = part.data if shared else number
        if key not in places:
            places[key] = offset
            offset += len(part.data)
        pieces = part.pieces or [(0, len(part.data))]
        entries += struct.pack(">HHH", number, 0, len(pieces))
        entries += b"".join(struct.pack(">II", places[key] + at, size) for at, size in pieces)
    return full(b"iloc", b"\x44\0", struct.pack(">H", len(parts)), entries)


def _entry(number: int, part: Part) -> bytes:
    return full(b"infe", struct.pack(">HH", number, 0), part.kind, b"\0", version=2)


def _references(parts: Sequence[Part], more: Sequence[tuple[int, bytes, list[int]]]) -> bytes:
    own = ((number, *one) for number, part in enumerate(parts, 1) for one in part.references.items())
    found = (
        box(kind, struct.pack(f">HH{len(targets)}H", number, len(targets), *targets))
        for number, kind, targets in (*own, *more)
    )
    return full(b"iref", *found)


_ESSENTIAL: Final = (b"hvcC", b"av1C", b"irot", b"imir", b"clap")
"""Properties without which an image may not be shown."""


def _properties(parts: Sequence[Part], shared: bool) -> bytes:
    all_of_them: list[bytes] = []
    associations = b""
    for number, part in enumerate(parts, 1):
        associations += struct.pack(">HB", number, len(part.properties))
        for one in part.properties:
            if not shared or one not in all_of_them:
                all_of_them.append(one)
            index = all_of_them.index(one) + 1 if shared else len(all_of_them)
            associations += struct.pack(">H", index | (0x8000 if one[4:8] in _ESSENTIAL else 0))
    return box(
        b"iprp",
        box(b"ipco", *all_of_them),
        full(b"ipma", struct.pack(">I", len(parts)), associations, flags=1),
    )


def size(width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """Return the property that says how large an image is."""
    return full(b"ispe", struct.pack(">II", width, height))


def rotated(quarters: int) -> bytes:
    """Return the property that turns an image left by so many quarters."""
    return box(b"irot", bytes((quarters,)))


def mirrored(axis: int) -> bytes:
    """Return the property that mirrors an image: top to bottom (0) or left to right (1)."""
    return box(b"imir", bytes((axis,)))


def cropped(width: int, height: int, right: int = 0, down: int = 0) -> bytes:
    """Return the property that leaves so much of an image, its centre moved by whole pixels."""
    return box(b"clap", struct.pack(">IIIIiIiI", width, 1, height, 1, right, 1, down, 1))


def code_points(primaries: int, transfer: int, matrix: int = 6) -> bytes:
    """Return the property that says by H.273 what the colours are."""
    return box(b"colr", b"nclx", struct.pack(">HHHB", primaries, transfer, matrix, 0x80))


def icc(profile: bytes) -> bytes:
    """Return the property that holds an ICC profile."""
    return box(b"colr", b"prof", profile)


ALPHA: Final = full(b"auxC", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
BITS: Final = full(b"pixi", b"\3\x08\x08\x08")
GREY_BITS: Final = full(b"pixi", b"\1\x08")


def picture(*properties: bytes, configuration: bytes = b"", data: bytes = b"", shown: bytes = b"", **more: Any) -> Part:
    """Return `photo()` in HEVC as an item, with more properties, or with others than it has."""
    own = [box(b"hvcC", configuration or COLOUR_CONFIGURATION), shown or size(), BITS]
    return Part(b"hvc1", data or COLOUR_PICTURE, [*own, *properties], **more)


def heic(*properties: bytes, **more: Any) -> bytes:
    """Return `photo()` as a HEIC, with more properties, or with others than it has."""
    return heif([picture(*properties, **more)])


def mask(*properties: bytes, **more: Any) -> Part:
    """Return `ramp()` in HEVC as an item, with more properties than it has."""
    return Part(b"hvc1", GREY_PICTURE, [box(b"hvcC", GREY_CONFIGURATION), size(), GREY_BITS, *properties], **more)


def transparent_heic() -> bytes:
    """Return `photo()` with `ramp()` as its transparency."""
    return heif([picture(), mask(ALPHA, references={b"auxl": [1]})])


def ten_bit_heic() -> bytes:
    """Return `photo()` with 10 bits a colour."""
    return heic(configuration=TEN_BIT_CONFIGURATION, data=TEN_BIT_PICTURE)


def grid(rows: int, columns: int, tile: Part, width: int, height: int, *properties: bytes) -> list[Part]:
    """Return an image of equal tiles, as phones write it: first the image, then its tiles."""
    layout = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    count = rows * columns
    whole = Part(b"grid", layout, [size(width, height), BITS, *properties], {b"dimg": [*range(2, 2 + count)]})
    return [whole, *[tile] * count]


def mosaic(uses: Sequence[int], *tiles: Part) -> list[Part]:
    """Return the smallest grid, made of these items, and tiles that are counted from 2."""
    whole, _ = grid(1, 1, picture(), WIDTH, HEIGHT)
    return [replace(whole, references={b"dimg": [*uses]}), *tiles]


def whole(item: int) -> Part:
    """Return an image that is another item as it is."""
    return Part(b"iden", b"", [size(), BITS], {b"dimg": [item]})


def overlay(side: int, item: int, *properties: bytes, **references: list[int]) -> Part:
    """Return an image that lays an item over a background of so many pixels each way, whatever its box says."""
    layout = struct.pack(">BBHHHHIIii", 0, 1, 0, 0, 0, 65_535, side, side, 0, 0)
    more = {kind.encode(): targets for kind, targets in references.items()}
    return Part(b"iovl", layout, [size(), *properties], {b"dimg": [item], **more})


def later_slice() -> bytes:
    """Return all of `photo()` but its first block as one more slice of the same picture (ITU-T H.265, 7.3.6.1)."""
    unit = COLOUR_PICTURE[4:]
    old = f"{int.from_bytes(unit[2:5], 'big'):024b}"
    # The first bit says that a picture begins; a slice that begins none has its address behind the first three. The
    # header ends with a 1 that is filled up to a whole byte.
    new = (f"0{old[1:3]}01{old[3:].rstrip('0')}").ljust(24, "0")
    later = unit[:2] + int(new, 2).to_bytes(3, "big") + unit[5:]
    return struct.pack(">I", len(later)) + later


def nested(levels: int) -> list[Part]:
    """Return a grid of nothing, `photo()`, and from 3 on two images that are made of two each, and so on."""
    layers = [
        Part(b"iden", b"", [size()], {b"dimg": [at + 2, at + 3] if at < 2 * levels else [2]})
        for at in range(3, 2 * levels + 2, 2)
        for _ in range(2)
    ]
    return [*mosaic([], picture()), *layers]


def hevc_announcing(width: int, height: int) -> bytes:
    """Return the configuration of an HEVC stream that says another size, and nothing behind that."""
    bits = "0" * 4 + "000" + "1" + "0" * 96 + golomb(0) + golomb(1) + golomb(width) + golomb(height)
    bits = bits.ljust(-(-len(bits) // 8) * 8, "1")
    unit = b"\x42\x01" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    array = b"\x21" + struct.pack(">HH", 1, len(unit)) + unit
    return COLOUR_CONFIGURATION[:22] + b"\1" + array


def golomb(value: int) -> str:
    """Return a number in the exponential Golomb code of HEVC and AV1, as 0s and 1s."""
    binary = f"{value + 1:b}"
    return "0" * (len(binary) - 1) + binary


@dataclass(frozen=True)
class Av1:
    """The stream of an AVIF and what says how it is coded."""

    configuration: bytes
    data: bytes


def av1(image: Image.Image, **options: Any) -> Av1:
    """Return an image as AV1, taken out of the AVIF that Pillow writes."""
    buffer = io.BytesIO()
    image.save(buffer, "AVIF", **{"quality": 95, "subsampling": "4:4:4"} | options)
    raw = buffer.getvalue()
    start = raw.index(b"av1C")
    end = start - 4 + int.from_bytes(raw[start - 4 : start], "big")
    return Av1(raw[start + 4 : end], raw[raw.index(b"mdat") + 4 :])


def avif(
    image: Image.Image, *properties: bytes, shown: bytes = b"", brands: Sequence[bytes] = (b"avif", b"mif1")
) -> bytes:
    """Return an image as an AVIF, with more properties, or with another size than it has."""
    return heif([av1_part(av1(image), *properties, shown=shown or size(*image.size))], brands=brands)


def av1_part(stream: Av1, *properties: bytes, shown: bytes = b"") -> Part:
    """Return an AV1 stream as an item."""
    return Part(b"av01", stream.data, [box(b"av1C", stream.configuration), shown or size(), BITS, *properties])


COLOUR_CONFIGURATION: Final = base64.b85decode(
    "0R#vD00000000009`FGC|M>U-01pEo0096OKmiN^|NjIC00093o;Uyi0{{RXx&lBU0096iLID8;2mk;B0G>Di00RI39*_r+F!}P`NhLM"
    "Sz<_~)000930RR94009Uh00969L;=Bah71BE"
)
COLOUR_PICTURE: Final = base64.b85decode(
    "000A2C;_hp`0*Uwf@>ixq7*nFN}s?eW^3iPT&-VcivE1=OKW6B_m#TSXsKQOI~hQHonaN|gRlSmI{&i%-s?cH;<qvJN?~#*K0sEr!A0*"
    "2sb30<gY~qCc22DhbDY6)&;VtJ-;xoA<Zp^k<~RS<adem(VtI$g%yxO*P;m>zg^Txd={da@fae~14QA1Njy?C%a*_IZ<?sQ{t{$%vyY>"
    "&pF1fx%bxXUG_HOF`(M*^Ady1j5rV0l&6keI|n$wu!dtG>2XxkC<(=j_`vzz})q6>(oGfU5I^1p>k?DJDvZiEXdK@yW%raMG7JG`fN>F"
    "eGwk)~I60+Q~{QOBiA68aWVa%LPc;)Kro=Ab@RKl)g15E1<9&U@r!9Ye!_U*n-oe#K5LwIN=eGxOoE$V>Ky-H{;Vuxp23pPu*|3S*Cn4"
    "DPS1ZG~@UW`?GUs&E+?3#OofF?qCvpSvTV5sec@b51s5yQWO;xhL81$tSxU6cXj^O#nuUSgu9@=Zgt&iz1B_=`7;i|M2*Y&^}_-Y-)o|"
    "=#@W>wAh3eAcl|yGqwcDpt;*s#9oZ9>&!ZdIb#-l)YYW<V9%R4MOzCVoitBop(tXY?n~J6OjzrRuJ(P!0;~jK&UIXGP6hYevTi7z$h|_"
    "tPhY*`tPr3G@Z6}*0BENr<P<h;nId5SwqXlX^ZpcXpW&U03kcEeJNYRo#Q{Ct2z@B{@}%o5MO7z+5B3SFmy)G0m>BbRBVo$&G=`;PnBW"
    "t_-g#TLjW&7JWU|L}CM{^?j}hO`3KP&#MDMTj)c~+da_`qMIJkUi)<g3nt}e=fLDuoG!li+Lwd@B)Vc6EvYoDC0&4}U~&Q)%NnSY^|t0"
    "D)F*=pKuy!9yJBKpGa+|vLbH50fMueRC&LVxSG?%iE+bOGBhm!QUmi_rf1VYBO=133_?X{;r5Tdn2H5b#WEAC{5$b`j5T<Mf3b$boPk9"
    "QsX?dZ!V&7S0$8KV$e$;dZ1j@wfO<%XD8l^hb_*{A!*%&wD)w!Qmqh0ANClmoIzIvpIBL9eaDzNejcfd81z5qWNuCMmj2eDK~o`Ut`vx"
    "mAKv9_a-nHD)H}pR(4tZ!Fq*^&x?J~"
)
GREY_CONFIGURATION: Final = base64.b85decode(
    "0R#vD00000000009`FGC{P_3)01pEo0096OKmiN^|NjIC00093pZEX(0{{RXx&lBU0096eLID8;2mk;B0H62(00RI39>DSjA3j^DB&NB"
    "rAOHXZ03ZMW0{|f+00968L;=Baup&S"
)
GREY_PICTURE: Final = base64.b85decode(
    "0000}C;_e$z&*g6p?KH+J!q{zJ$Kcc?ujzf<~S6BFTZ48r#M06dRcm4VXwIOVm(LW%J5&K$}}Kl*CurlVx~r~yFvOK+!bP@3VK+}pc6D<umy|"
)
TEN_BIT_CONFIGURATION: Final = base64.b85decode(
    "0R#vD00000000009`FGC|N8m>01pEo0096OKmiN^|NjIC00093oHzgg0{{RXx&lBU0096jLID8;2mk;B0Gv1g00RI39*_r+F!|dp)RI$"
    "N+z1F55C8xJ01yBG0{{?!A^-sZ2t)zFa)t~7Bm"
)
TEN_BIT_PICTURE: Final = base64.b85decode(
    "0008lC;_hpxbS^u{RcsUw{vIk9a~#)Zn2IiqD13#0ZT$rF?J*Wj+v!Zx?_Goo3qoMuV?U2I|JnF2(LsPfB)iH{SWm5EZp`_H229dy>3F"
    "l0o1zt9=y`V2Z!xH|7TskJimZ3f5-U_xO0r<Lnlyc)btP(`0mu#Kz>n4rcD33t+D;KfBj?ZvQXzUgFdhy_?3g;n+lBlM|N$9XRmVfZ_9"
    "6wk@%;mdrY=nS>>0rB|U~j*nL<h6g*|`*V|S2c;vPpp9M?4QZJ1Orb-XCpcH=uPfZMyAB%_#roRfbAu;<^$KVma)ER%SjLe?P<4FU&#8"
    "64|`RCp=n~7E*VY3_5vBz~HLVphx&(4{CZ>#V<%xo0W<KZ~Lop4<UJM(J<#79Mt{1){<xgY6<IvDV9w)?$Qf7lV&8lI7kYZDMMjV|kPi"
    "_PK!`242Y9l0R5u?7sF$X=w9kPWcbwnCpINYQj&I65}qD7AuQ+~%0b^5ScFE<?<9)7|`=I#b$&;!A*A2Mjrh#j}SiW&eH^oo@u75DnGY"
    "6-bk1zyJF81s|DFSU$-=-Cnoo^}Y4^auVsobUpdjb^354<|vXB#-BmK07fXV;>M=vT2$Yb3-C_?+`xv0f7Z;<=eNFJ>+Pp*m-Fs@hdE5"
    "|eVO$557??kM4`Oja}4pPXQV)Rfo{^QvEAJec*>h3<1&`-ocrQj6heE>&h;EGSbliIhK**c5W{`3SqJFXUmF>W=QbC{N+Uin|JMVDq0;"
    "?B(gcJ+_{;_!Jb;Vy)ZvQ@PYs0>Y36<*%sDKXW@KMqgq^r0w45lTV^b_GCP}dA=@8$;i`?g-!k*oaxLKPy2>Tc_A}`LXWqty30{p%nm8"
    "t^FtF8tkQDN!_4Xfj>)Iaf@Zd1k)*2Igy!1SL+K2)fDDc180Euq-&Q$1@V=3mKatciY{8m3@o9W<)}a6Ui"
)
