import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.engines import download
from app.engines.bundle import BUNDLED, Bundle
from app.engines.files import sha256
from app.engines.keras.reader import read
from app.engines.weights import Weights, locate, published_name, variants
from app.errors import StartError
from app.mobilenet.variants import PUBLISHED, Variant
from tests.support import needs
from tests.support.data import SHARED
from tests.support.webserver import Site, serving
from tests.support.weights import settings

pytestmark = pytest.mark.tensorflow


def test_the_published_names_are_those_of_keras_applications() -> None:
    names = {published_name(variant) for variant in PUBLISHED}
    assert len(names) == 16
    assert {"mobilenet_1_0_224_tf.h5", "mobilenet_7_5_192_tf.h5", "mobilenet_2_5_128_tf.h5"} < names


def test_a_path_is_known_by_its_name_and_by_the_sha256_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "own.weights.h5"
    path.write_bytes(b"bytes")
    found = locate(settings(weights=path))
    assert (found.name, found.path, found.published) == ("own.weights.h5", path, False)
    assert found.sha256 == hashlib.sha256(b"bytes").hexdigest()


def bundle(folder: Path, name: str = "own") -> Bundle:
    path = folder / f"{name}_0.75.weights.h5"
    path.write_bytes(b"bundled")
    (folder / "MANIFEST.toml").write_text(f'["{path.name}"]\nsha256 = "{sha256(path)}"\n')
    return Bundle.open(folder)


def test_weights_in_a_folder_are_found_by_their_width_and_have_the_name_of_their_files(tmp_path: Path) -> None:
    made = bundle(tmp_path)
    path, given = made.weights(0.75), settings(Variant(0.75, 192), weights=tmp_path)
    found = locate(given)
    assert found == Weights("own", path, sha256(path), made)
    path.unlink()
    assert locate(given) == found, "what they are compiled to is found without them"
    path.write_bytes(b"damaged")
    with pytest.raises(StartError, match="is damaged or was replaced"):
        locate(given)


def test_weights_in_a_folder_are_not_the_published_ones_whatever_their_name_is(tmp_path: Path) -> None:
    bundle(tmp_path, "imagenet")
    found = locate(settings(Variant(0.75, 192), weights=tmp_path))
    assert (found.name, found.published) == ("imagenet", False)


def test_the_bundled_weights_are_in_a_folder_too() -> None:
    found = locate(settings(Variant(0.5, 160)))
    assert (found.name, found.path, found.bundle) == ("imagenette", BUNDLED.weights(0.5), BUNDLED)


def test_the_variants_of_weights_are_those_they_are_published_or_bundled_or_made_for(tmp_path: Path) -> None:
    assert set(variants(settings(weights="imagenet"))) == set(PUBLISHED)
    bundle(tmp_path)
    four = [Variant(0.75, resolution) for resolution in (224, 192, 160, 128)]
    assert variants(settings(weights=tmp_path)) == four
    assert variants(settings(Variant(0.75, 32), weights="own.h5")) == four


def test_weights_that_are_not_there_say_which_file_is_missing_and_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    bundle(tmp_path)
    for setting, message in [
        (
            str(tmp_path),
            r"^MOBILENET_ALPHA=0\.25: the weights of own have α 0\.75 \(a service that runs already has to be",
        ),
        (str(tmp_path / "empty"), r"^MOBILENET_WEIGHTS=\S+/empty: this folder has no MANIFEST\.toml, .*; allowed are "),
        (str(saved_model(tmp_path)), r"^MOBILENET_WEIGHTS=\S+/sm: .*SavedModel.*: save the model as \.keras"),
        (str(tmp_path / "own.h5"), r"own\.h5: No such file"),
        ("photo.jpg", r"MOBILENET_WEIGHTS=photo\.jpg: allowed are imagenette, imagenet, a folder that"),
    ]:
        with pytest.raises(StartError, match=message):
            locate(settings(weights=setting))


def saved_model(folder: Path) -> Path:
    (folder / "sm").mkdir()
    (folder / "sm" / "saved_model.pb").touch()
    return folder / "sm"


NAME = "mobilenet_2_5_128_tf.h5"
PUBLISHED_VARIANT = Variant(0.25, 128)


@pytest.fixture(scope="module")
def published_file() -> bytes:
    """A file as Keras Applications publishes it: 1,000 classes in the legacy layout."""
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    from app.mobilenet.network import build

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, build(0.25, 128))
    return buffer.getvalue()


@pytest.fixture
def site(published_file: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(download, "PAUSE_S", 0.0)
    with serving({f"/mobilenet/{NAME}": published_file}) as site:
        yield site


def fetch(site: Site, cache: Path) -> Weights:
    return locate(settings(PUBLISHED_VARIANT, weights="imagenet", weights_url=f"{site.url}/mobilenet", cache=cache))


def test_published_weights_are_fetched_once_and_recorded(site: Site, published_file: bytes, tmp_path: Path) -> None:
    weights = fetch(site, tmp_path)
    assert (weights.name, weights.path, weights.published) == ("imagenet", tmp_path / NAME, True)
    assert weights.path.read_bytes() == published_file
    assert len(read(weights.path, 0.25)[-1]) == 1000
    assert (tmp_path / f"{NAME}.sha256").read_text() == f"{hashlib.sha256(published_file).hexdigest()}  {NAME}\n"
    assert fetch(site, tmp_path) == weights
    assert len(site.asked) == 1


def test_a_cut_connection_does_not_show_in_the_weights(site: Site, published_file: bytes, tmp_path: Path) -> None:
    site.cuts = [len(published_file) // 2]
    assert fetch(site, tmp_path).path.read_bytes() == published_file


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda whole: whole[: len(whole) // 2], "is not a Keras weight file, or it is damaged: .*truncated file"),
        (lambda whole: bytes(64) + whole[64:], "is not a Keras weight file, or it is damaged"),
        (lambda whole: b"<html>Sign in</html>", "is not a Keras weight file"),
    ],
    ids=["truncated", "corrupted", "another file"],
)
def test_what_is_no_weight_file_is_refused_and_not_kept(
    site: Site, tmp_path: Path, change: Callable[[bytes], bytes], message: str
) -> None:
    path = f"/mobilenet/{NAME}"
    whole, site.files[path] = site.files[path], change(site.files[path])
    with pytest.raises(StartError, match=rf"^cannot use what {site.url}/mobilenet/{NAME} answers: it {message}"):
        fetch(site, tmp_path)
    assert not list(tmp_path.iterdir())
    site.files[path] = whole
    assert fetch(site, tmp_path).path.read_bytes() == whole


def test_weights_that_cannot_be_fetched_say_where_to_put_the_file(site: Site, tmp_path: Path) -> None:
    site.files.clear()
    with pytest.raises(StartError, match=rf"/{NAME}: 404 .*; get {NAME} from elsewhere and put it into {tmp_path}$"):
        fetch(site, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_put_there_by_hand_is_used_and_recorded(site: Site, published_file: bytes, tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(published_file)
    assert fetch(site, tmp_path).sha256 in (tmp_path / f"{NAME}.sha256").read_text()
    assert site.asked == []


def test_a_file_that_changed_since_its_first_use_is_refused(site: Site, tmp_path: Path) -> None:
    path = fetch(site, tmp_path).path
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    with pytest.raises(StartError, match=f"{NAME} is not the file it was at its first use"):
        fetch(site, tmp_path)


def test_weights_in_a_folder_that_cannot_be_written_are_used(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / NAME).write_bytes(site.files[f"/mobilenet/{NAME}"])
    monkeypatch.setattr("app.engines.files._beside", read_only)
    assert fetch(site, tmp_path).published


def read_only(_: object) -> None:
    raise OSError(30, "Read-only file system")


def test_a_resolution_that_is_not_published_says_which_are(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"^MOBILENET_RESOLUTION=64: imagenet is published for 224, 192, 160, 128$"):
        locate(settings(weights="imagenet", cache=tmp_path))


@needs.REFERENCE_DATA.mark()
@pytest.mark.parametrize(("name", "alpha", "resolution"), [(NAME, 0.25, 128), ("mobilenet_5_0_160_tf.h5", 0.5, 160)])
def test_the_real_files_come_through(name: str, alpha: float, resolution: int, tmp_path: Path) -> None:
    content = (SHARED / "imagenet" / name).read_bytes()
    variant = Variant(alpha, resolution)
    with serving({f"/{name}": content}) as site:
        site.cuts = [len(content) // 3]
        weights = locate(settings(variant, weights="imagenet", weights_url=site.url, cache=tmp_path))
    assert weights.path.read_bytes() == content
    assert (weights.path.name, weights.published) == (name, True)
