"""`/explain`, `/embed` and `?explain=true` as their callers see them."""

import io
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from app.config import Settings
from app.engines.base import patterns
from app.main import create_app
from app.model.evidence import embedding
from app.model.labels import Label
from tests.support.client import Launch, check_problem, started
from tests.support.data import solid
from tests.support.fakes import COLOURS, MosaicEngine, mosaic_model, serving_lineup
from tests.support.images import encoded, orientation

RED, BLUE = COLOURS["red"], COLOURS["blue"]
LABELS = list(COLOURS)


@pytest.fixture
def client(launch: Launch) -> Any:
    return launch(mosaic_model())


def halves(width: int = 128, height: int = 128) -> Image.Image:
    """Return an image that is red on its left and blue on its right."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


def explained(client: Any, content: bytes, query: str = "") -> dict[str, Any]:
    """Return what the first prediction says, of one image."""
    answer = client.post(f"/predict?explain=true{query}", content=content)
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    found: dict[str, Any] = {one["label"]: one["evidence"] for one in result["predictions"]}
    return found


def test_each_class_of_an_answer_has_what_each_place_says_and_only_if_asked(client: Any) -> None:
    found = explained(client, encoded(halves(), "PNG"), "&top_k=6")
    assert list(found)[:2] in (["red", "blue"], ["blue", "red"])
    for label, better in (("red", 0), ("blue", 1)):
        values = np.array(found[label]["values"])
        assert (found[label]["rows"], found[label]["columns"]) == values.shape == (2, 2)
        assert (values[:, better] > values[:, 1 - better]).all()
    plain = client.post("/predict", content=encoded(halves(), "PNG")).json()
    assert "evidence" not in plain["results"][0]["predictions"][0]
    assert "explain_macs" not in plain["cost"]


def test_logits_that_differ_by_so_much_are_probabilities_of_that_ratio(client: Any) -> None:
    answer = client.post("/predict?explain=true&top_k=6", content=encoded(halves(), "PNG")).json()
    found = answer["results"][0]["predictions"]
    for one in found:
        assert np.sum(one["evidence"]["values"]) == pytest.approx(one["evidence"]["logit"], abs=1e-4)
        ratio = np.log(found[0]["probability"] / one["probability"])
        assert found[0]["evidence"]["logit"] - one["evidence"]["logit"] == pytest.approx(ratio, abs=1e-4)


def test_the_receipt_counts_what_the_evidence_cost_beside_the_network(client: Any) -> None:
    answer = client.post("/predict?explain=true&top_k=3", content=solid(RED)).json()
    plain = client.post("/predict?top_k=3", content=solid(RED)).json()
    assert answer["cost"] == plain["cost"] | {"explain_macs": 3 * 2 * 2 * MosaicEngine.channels}


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "TIFF", "PNG"])
def test_the_grid_and_its_box_are_those_of_the_pixels_in_the_file_however_they_are_turned(
    client: Any, form: str, value: int
) -> None:
    exif = orientation(value)
    found = explained(client, encoded(halves(128, 96), form, exif=exif), "&top_k=6")
    values = np.array(found["red"]["values"])
    assert (values[:, 0] > values[:, 1] + 1).all()  # the left of the file is red
    box = found["red"]["box"]
    assert box == {"left": 22.0, "top": 6.0, "width": 84.0, "height": 84.0, "orientation": value}


def test_the_box_of_a_photo_that_is_scaled_while_it_is_decoded_is_that_of_all_its_pixels(client: Any) -> None:
    for options in ({}, {"progressive": True}):
        found = explained(client, encoded(halves(2000, 1000), "JPEG", **options))
        assert found["red"]["box"] == {"left": 562.5, "top": 62.5, "width": 875.0, "height": 875.0, "orientation": 1}


def test_each_image_of_a_request_is_explained(launch: Launch) -> None:
    client = launch(mosaic_model())
    one, other = encoded(halves(), "PNG"), encoded(halves().rotate(180), "PNG")
    files = [("image", ("one.png", one)), ("image", ("bad.png", b"no image")), ("image", ("other.png", other))]
    results = client.post("/predict?explain=true", files=files).json()["results"]
    assert results[1]["error"]["code"] == "unsupported_image"
    grids = [next(p for p in results[at]["predictions"] if p["label"] == "red")["evidence"]["values"] for at in (0, 2)]
    np.testing.assert_allclose(np.array(grids[0])[:, ::-1], grids[1], atol=1e-3)


def test_each_variant_that_is_asked_has_evidence_of_its_own_size(launch: Launch) -> None:
    lineup = serving_lineup(r64=MosaicEngine(), r128=MosaicEngine())
    settings = Settings(alpha=0.25, resolution=64, variants="0.25/128")
    with started(create_app(settings, lineup)) as client:
        for query, expected in (("variants=all", [2, 4]), ("cascade=0.25/64,0.25/128&threshold=1", [4])):
            answer = client.post(f"/predict?explain=true&top_k=1&{query}", content=encoded(halves(), "PNG")).json()
            (result,) = answer["results"]
            answers = result.get("variants", [result])
            assert [one["predictions"][0]["evidence"]["rows"] for one in answers] == expected
            assert answer["cost"]["explain_macs"] == 3 * (2 * 2 + 4 * 4)
        assert client.post("/embed?resolution=128", content=solid(RED)).json()["model"]["resolution"] == 128


def test_only_the_variants_that_answer_need_features(launch: Launch) -> None:
    settings = Settings(alpha=0.25, resolution=64, variants="0.25/128")
    with started(create_app(settings, serving_lineup(r64=MosaicEngine()))) as client:
        for query in ("", "&alpha=0.25", "&max_macs=5000000"):
            assert client.post(f"/predict?explain=true{query}", content=solid(RED)).status_code == 200
        for query in ("resolution=128", "variants=all", "cascade=0.25/64,0.25/128"):
            wrong = client.post(f"/predict?explain=true&{query}", content=solid(RED))
            assert "colours 0.25/128 gives no features" in check_problem(wrong, 422, "invalid_parameter")


def png(answer: Any) -> np.ndarray[Any, np.dtype[np.int_]]:
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png"), answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content))).astype(int)


def test_a_picture_shows_the_evidence_for_the_first_class_or_for_one_by_any_of_its_names(client: Any) -> None:
    content = encoded(halves(), "PNG")
    for name, warm in (("red", 0), ("0", 0), ("n00000000", 0), ("BLUE", 1), ("2", 1)):
        answer = client.post(f"/explain?class={name}", content=content)
        found = png(answer)
        assert found.shape == (64, 64, 3)
        warmth = found[..., 0] - found[..., 2]
        assert (warmth[:, :16].mean() > warmth[:, -16:].mean()) == (warm == 0)
        assert answer.headers["x-class-id"] == "02"[warm]
        assert answer.headers["x-class-label"] == ("red", "blue")[warm]
    first = client.post("/explain", content=solid(BLUE))
    assert (first.headers["x-class-label"], first.headers["x-model"]) == ("blue", "colours 0.25/64 float32")
    assert 0.9 < float(first.headers["x-class-probability"]) <= 1


def test_the_picture_of_a_photo_has_its_size_upright_and_a_huge_one_is_made_smaller(client: Any) -> None:
    turned = encoded(halves(120, 80), "JPEG", exif=orientation(6))
    found = png(client.post("/explain?size=photo&class=red", content=turned))
    assert found.shape == (120, 80, 3)  # the red left of the file is above now
    warmth = found[..., 0] - found[..., 2]
    assert warmth[20:40, 20:60].mean() > warmth[80:100, 20:60].mean() + 20
    np.testing.assert_array_equal(warmth[:10], 0)  # outside of what the network sees nothing is known
    huge = png(client.post("/explain?size=photo", content=encoded(halves(4100, 1025), "JPEG")))
    assert huge.shape == (512, 2048, 3)


def test_a_label_that_is_no_ascii_is_percent_encoded_in_its_header(launch: Launch) -> None:
    model = mosaic_model()
    names = ("Größe, 大", *LABELS[1:])
    labels = tuple(Label(index, None, name) for index, name in enumerate(names))
    client = launch(replace(model, labels=labels))
    assert unquote(client.post("/explain", content=solid(RED)).headers["x-class-label"]) == names[0]


@pytest.mark.parametrize("name", ["模型.keras", "цветы-weights", "my weights"])
def test_weights_of_any_name_are_named_in_a_header_from_which_the_name_can_be_read(launch: Launch, name: str) -> None:
    client = launch(replace(mosaic_model(), weights=name))
    for path in ("/explain", "/embed"):
        answer = client.post(path, content=solid(RED), headers={"Accept": "application/octet-stream"})
        assert answer.status_code == 200
        weights, variant, precision = answer.headers["x-model"].split(" ")
        assert (unquote(weights), variant, precision) == (name, "0.25/64", "float32")


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("class=6", "class 6 is not between 0 and 5"),
        (f"class={'9' * 4_301}", f"class {'9' * 80} is not between 0 and 5"),
        (f"class=red{'x' * 60_000}", f"no class 'red{'x' * 77}'; /labels lists all of them"),
        (f"class{'x' * 60_000}=1", f"class{'x' * 75}: there is no such parameter; this route has class, size, "),
        (f"resolution=32{'0' * 310}", "2048"),
        ("class=rad", "there is no class 'rad'; the nearest is 'red', and /labels lists all of them"),
        ("size=poster", "size must be 'input' or 'photo'"),
        ("klass=1", "klass: there is no such parameter; the nearest is class"),
        ("alpha=0.3", "0.3"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_allowed(client: Any, query: str, detail: str) -> None:
    assert detail in check_problem(client.post(f"/explain?{query}", content=solid(RED)), 422, "invalid_parameter")


def labelled(launch: Launch, *names: str) -> Any:
    """Return a client of a model whose first classes have these labels, or WordNet ids, a slash and these labels."""
    pairs = [name.rpartition("/") for name in [*names, *LABELS[len(names) :]]]
    labels = tuple(Label(index, wordnet_id or None, label) for index, (wordnet_id, _, label) in enumerate(pairs))
    return launch(replace(mosaic_model(), labels=labels))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Cardigan", "0"),
        ("cardigan", "1"),
        ("n3", "3"),
        ("N3", "3"),
        ("2", "2"),
        ("02", "2"),
        ("9", "4"),  # only a label: there is no tenth class
        ("05", "5"),
    ],
)
def test_a_class_is_the_one_of_exactly_this_name_or_else_of_this_name_in_another_case(
    launch: Launch, name: str, found: str
) -> None:
    client = labelled(launch, "Cardigan", "cardigan", "n1/crane", "n3/crane", "9", "2 pairs")
    answer = client.post(f"/explain?class={name}", content=solid(RED))
    assert (answer.status_code, answer.headers["x-class-id"]) == (200, found)


@pytest.mark.parametrize(
    ("names", "name", "classes"),
    [
        (("n1/crane", "red", "n2/crane"), "crane", "0 ('crane', n1) or 2 ('crane', n2)"),
        (("Cardigan", "red", "cardigan"), "CARDIGAN", "0 ('Cardigan') or 2 ('cardigan')"),
        (("x",) * 4, "x", "0 ('x'), 1 ('x'), 2 ('x') or 3 ('x')"),
        (("1", "2", "3", "4"), "2", "01 ('2') or 02 ('3')"),
        (("2", "2"), "2", "0 ('2'), 1 ('2') or 02 ('blue')"),
        (("01", "1", "x", "1"), "01", "0 ('01') or 001 ('1')"),
    ],
)
def test_a_name_of_several_classes_is_refused_with_numbers_that_name_one_of_them(
    launch: Launch, names: tuple[str, ...], name: str, classes: str
) -> None:
    client = labelled(launch, *names)
    detail = check_problem(client.post(f"/explain?class={name}", content=solid(RED)), 422, "invalid_parameter")
    assert detail == f"class {name!r} may be {classes}; write one of these numbers instead"
    for number in re.findall(r"(\d+) \(", detail):
        answer = client.post(f"/explain?class={number}", content=solid(RED))
        assert answer.headers["x-class-id"] == str(int(number))


def test_a_name_of_many_classes_is_refused_with_the_address_of_the_others(launch: Launch) -> None:
    client = labelled(launch, *["x"] * 6)
    detail = check_problem(client.post("/explain?class=x", content=solid(RED)), 422, "invalid_parameter")
    assert detail.endswith("3 ('x') or another; write one of these numbers instead; /labels lists all of them")


def test_of_a_long_name_only_the_beginning_is_compared(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[int] = []

    def near(name: str, known: Iterable[str], **_: object) -> list[str]:
        compared.append(len(name))
        return [next(iter(known))]

    monkeypatch.setattr("app.validation.get_close_matches", near)
    for path in ("explain?class=", "explain?", "predict?"):
        client.post(f"/{path}{'ß' * 10_000}=1", content=solid(RED))
    assert compared == [80, 80, 80]  # a whole one would be compared for seconds, in which nobody else is served


def test_what_is_wrong_with_an_image_is_said_and_one_at_a_time_is_drawn(client: Any) -> None:
    check_problem(client.post("/explain", content=b"no image"), 415, "unsupported_image")
    files = [("image", ("a.png", solid(RED))), ("image", ("b.png", solid(RED)))]
    assert "2 images" in check_problem(client.post("/explain", files=files), 413, "too_many_images")
    check_problem(client.post("/embed", content=b"no image"), 415, "unsupported_image")
    check_problem(client.post("/explain?alpha=1&resolution=224", content=solid(RED)), 404, "variant_not_loaded")


def test_a_model_without_features_says_why_it_explains_nothing(launch: Launch) -> None:
    client = launch()
    for path in ("/explain", "/embed", "/predict?explain=true"):
        detail = check_problem(client.post(path, content=solid(RED)), 422, "invalid_parameter")
        assert "colours 0.25/64 gives no features" in detail
    assert client.post("/predict?explain=false", content=solid(RED)).status_code == 200


def test_embeddings_are_those_of_the_network_and_a_bad_image_fails_alone(client: Any) -> None:
    image = Image.fromarray(patterns(1, 128)[0])
    files = [("image", ("a.png", encoded(image, "PNG"))), ("image", ("b.png", b"no image"))]
    answer = client.post("/embed", files=files).json()
    assert (answer["layer"], answer["dimensions"], answer["unit"]) == ("global_average_pooling", 3, False)
    assert (answer["weights_sha256"], answer["model"]["weights"]) == ("0" * 64, "colours")
    assert answer["results"][1]["error"]["code"] == "unsupported_image"
    pixels = np.asarray(Image.open(io.BytesIO(client.post("/preview", content=files[0][1][1]).content)))
    expected = embedding(MosaicEngine().observe([pixels])[1][0])
    np.testing.assert_allclose(answer["results"][0]["embedding"], expected, rtol=1e-6)
    assert client.post("/predict", content=solid(RED)).json()["cost"] == answer["cost"]


def test_embeddings_of_unit_length_have_that_length(client: Any) -> None:
    (result,) = client.post("/embed?unit=true", content=solid(RED)).json()["results"]
    assert np.linalg.norm(result["embedding"]) == pytest.approx(1, abs=1e-5)
    (black,) = client.post("/embed?unit=true", content=solid((0, 0, 0))).json()["results"]
    assert black["embedding"] == [0, 0, 0]  # and no division by nothing


def test_embeddings_as_raw_bytes_are_the_same_numbers_all_or_none(client: Any) -> None:
    raw = {"Accept": "application/octet-stream"}
    files = [("image", ("a.png", solid(RED))), ("image", ("b.png", solid(BLUE)))]
    answer = client.post("/embed", files=files, headers=raw)
    shape = tuple(map(int, answer.headers["x-embedding-shape"].split(",")))
    found = np.frombuffer(answer.content, "<f4").reshape(shape)
    expected = [one["embedding"] for one in client.post("/embed", files=files).json()["results"]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert (answer.headers["x-weights-sha256"], answer.headers["x-embedding-layer"]) == (
        "0" * 64,
        "global_average_pooling",
    )
    listed = {"Accept": "application/octet-stream;q=1, */*;q=0.1"}
    assert client.post("/embed", files=files, headers=listed).content == answer.content
    for accept in ("*/*", "application/json, application/octet-stream"):
        assert client.post("/embed", files=files, headers={"Accept": accept}).json()["dimensions"] == shape[1]
    files[1] = ("image", ("b.png", b"no image"))
    detail = check_problem(client.post("/embed", files=files, headers=raw), 415, "unsupported_image")
    assert detail.startswith("image 1: ")


def test_the_log_says_which_variant_explained_or_embedded(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    for path in ("/explain", "/embed"):
        caplog.clear()
        with caplog.at_level("INFO"):
            client.post(path, content=solid(RED))
        assert any(getattr(record, "facts", {}).get("variant") == "0.25/64" for record in caplog.records), path


def test_keys_are_asked_for(launch: Launch) -> None:
    client = launch(mosaic_model(), api_keys="a-key")
    for path in ("/explain", "/embed"):
        check_problem(client.post(path, content=solid(RED)), 401, "unauthorized")
        assert client.post(path, content=solid(RED), headers={"X-API-Key": "a-key"}).status_code == 200
