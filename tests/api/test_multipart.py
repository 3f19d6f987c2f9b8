"""Multipart as clients of many languages write it."""

import base64

import pytest

from app.api import multipart
from app.api.multipart import images_in
from app.errors import MalformedRequest, TooManyImages
from tests.support.client import Launch, check_problem
from tests.support.data import RED
from tests.support.fakes import mosaic_model

TYPE = "multipart/form-data; boundary=b"
PHOTO = bytes(range(256)) + b"\r\n--bb\r\n-- no boundary"


def part(disposition: bytes, content: bytes = PHOTO, *headers: bytes) -> bytes:
    head = b"".join(header + b"\r\n" for header in (b"Content-Disposition: " + disposition, *headers))
    return b"--b\r\n" + head + b"\r\n" + content + b"\r\n"


@pytest.mark.parametrize(
    "disposition",
    [
        b'form-data; name="image"; filename="a.jpg"',
        b"form-data; name=image; filename=a.jpg",  # .NET
        b'form-data; name="image"',  # Dart, reqwest, curl -F image=<file
        b"form-data; name=image; filename*=UTF-8''%C3%A4.jpg",
        b'form-data; name="image"; filename=""',
        b'form-data; filename="a;b\\"c.jpg"; name="image"',
    ],
)
def test_a_part_is_an_image_with_or_without_the_name_of_a_file(disposition: bytes) -> None:
    assert images_in(part(disposition) * 2 + b"--b--\r\n", TYPE, 3) == [PHOTO, PHOTO]


def test_a_part_in_base64_is_left_as_text_which_is_read_later() -> None:
    text = base64.encodebytes(PHOTO)
    body = part(b"form-data; name=image", text, b"Content-Transfer-Encoding: BASE64") + b"--b--"
    assert images_in(body, TYPE, 3) == [text.decode()]
    binary = part(b"form-data; name=image", PHOTO, b"content-transfer-encoding: binary") + b"--b--"
    assert images_in(binary, TYPE, 3) == [PHOTO]


@pytest.mark.parametrize("before", [b"\r\n", b"Not shown.\r\n", b"--c\r\nx--b\r\n\n", b"\0" * 1000 + b"\r\n"])
def test_what_is_before_the_first_boundary_is_passed_over(before: bytes) -> None:
    assert images_in(before + part(b"form-data; name=image") * 2 + b"--b--", TYPE, 3) == [PHOTO, PHOTO]


@pytest.mark.parametrize("boundary", ["b", "x" * 1000])
def test_another_boundary_than_that_of_the_header_is_named(boundary: str) -> None:
    body = part(b"form-data; name=image").replace(b"--b", b"--c") + b"--c--"
    says = f"no line begins with --{boundary[:78]}, the boundary that Content-Type names"
    with pytest.raises(MalformedRequest, match=f"^the multipart body is malformed: {says}$"):
        images_in(body, f"multipart/form-data; boundary={boundary}", 3)


@pytest.mark.parametrize("space", [b" ", b"\t"])
def test_a_header_that_goes_on_in_the_next_line_is_told_what_is_allowed(space: bytes) -> None:
    says = "^the multipart body is malformed: a header of a part takes several lines; write it in one$"
    for before in (b"", b"Not shown.\r\n"):
        body = before + part(b"form-data;\r\n" + space + b'name="image"') + b"--b--"
        with pytest.raises(MalformedRequest, match=says):
            images_in(body, TYPE, 3)


def test_other_fields_are_passed_over_and_named_where_there_is_no_image() -> None:
    others = part(b"form-data; name=title", b"x") + part(b"form-data; name=photo; filename=notes.json", b"{}")
    assert images_in(others + part(b"form-data; name=image") + b"--b--", TYPE, 3) == [PHOTO]
    with pytest.raises(MalformedRequest, match="it has title, photo"):
        images_in(others + b"--b--", TYPE, 3)
    with pytest.raises(MalformedRequest, match="more than 16"):
        images_in(part(b"form-data; name=title", b"x") * 17 + b"--b--", TYPE, 3)


@pytest.mark.parametrize("file", [b"", b"; filename=p.jpg"])
def test_an_image_in_another_field_is_not_lost_without_a_word(file: bytes) -> None:
    body = part(b"form-data; name=image") + part(b'form-data; name="image[]"' + file, RED) + b"--b--"
    with pytest.raises(
        MalformedRequest, match=r"an image in the field image\[\]; every image belongs in a field image$"
    ):
        images_in(body, TYPE, 3)


@pytest.mark.parametrize("path", ["/predict", "/explain", "/embed"])
def test_a_parameter_of_the_route_in_a_form_is_told_where_it_belongs_and_others_mean_nothing(
    launch: Launch, path: str
) -> None:
    client = launch(mosaic_model())
    document = client.get("/openapi.json").json()["paths"]
    known = {one["name"] for one in document[path]["post"]["parameters"] if one["in"] == "query"}
    assert known
    for name in (*known, "class", "size", "title", "top_k", "unit"):
        response = client.post(path, data={name: "1"}, files={"image": RED})
        if name in known:
            detail = check_problem(response, 422, "invalid_parameter")
            assert detail == f"{name} is a parameter of the query, as in ?{name}=…, and no field of the form"
        else:
            assert response.status_code == 200


@pytest.mark.parametrize("end", [b"\n", b" \r\n"])
def test_a_line_that_does_not_end_as_it_should_is_told_how(end: bytes) -> None:
    with pytest.raises(MalformedRequest, match="a boundary is not followed by CR and LF, which end every line but"):
        images_in((part(b"form-data; name=image", b"x") + b"--b--").replace(b"--b\r\n", b"--b" + end), TYPE, 3)


@pytest.mark.parametrize(
    ("body", "content_type", "says"),
    [
        (b"garbage", TYPE, "malformed"),
        (part(b"form-data; name=image", PHOTO, b"a b: c") + b"--b--", TYPE, "invalid character 32 in header"),
        (part(b"form-data; name=image", PHOTO, b"a : c") + b"--b--", TYPE, "invalid character 32 in header"),
        (b"garbage", "multipart/form-data", "no boundary"),
        (part(b"form-data; name=image"), TYPE, "ends before its last boundary"),
        (part(b"form-data; name=image")[:-40], TYPE, "ends before its last boundary"),
        (part(b"form-data; filename=a.jpg") + b"--b--", TYPE, "no name"),
        (b"--b\r\n\r\nx\r\n--b--", TYPE, "no name"),
        (b"--b--", TYPE, "no field"),
        (b"", TYPE, "malformed"),
        (part(b"form-data; name=image", PHOTO, b"X: " + b"y" * 100_000) + b"--b--", TYPE, "malformed"),
    ],
)
def test_what_is_wrong_with_a_body_is_said(body: bytes, content_type: str, says: str) -> None:
    with pytest.raises(MalformedRequest, match=says):
        images_in(body, content_type, 3)


def test_an_image_too_many_ends_the_reading_before_its_bytes_are_kept() -> None:
    with pytest.raises(TooManyImages, match="3 is the most"):
        images_in(part(b"form-data; name=image") * 100, TYPE, 3)


SEMICOLONS = [b";" * 300, b";a" * 300, b'; a="' + b";" * 300 + b'"', b"; a*0*=b" * 300]
"""Ends of a header that take a time that grows with the square of their length."""


@pytest.mark.parametrize("end", SEMICOLONS)
def test_a_header_of_far_too_many_semicolons_is_refused_unread(end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    says = "^the multipart body is malformed: {} has {} semicolons, and 256 is the most$"
    content_type = TYPE + end.decode()
    in_type = says.format("Content-Type", content_type.count(";"))
    disposition = b"form-data; name=image" + end
    in_part = says.format("the Content-Disposition of a part", disposition.count(b";"))
    with pytest.raises(MalformedRequest, match=in_part):
        images_in(part(disposition) + b"--b--", TYPE, 3)
    monkeypatch.setattr(multipart, "parse_options_header", None)
    with pytest.raises(MalformedRequest, match=in_type):
        images_in(part(b"form-data; name=image") + b"--b--", content_type, 3)


def test_the_name_of_a_file_may_have_semicolons() -> None:
    name = "".join(f"&#{ord(letter)};" for letter in "Фотография кота на крыше.jpg").encode()  # as browsers write it
    assert images_in(part(b'form-data; name="image"; filename="' + name + b'"') + b"--b--", TYPE, 3) == [PHOTO]
