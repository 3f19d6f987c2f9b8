"""The kinds of photos that servers are measured with: real ones of different sizes, and photos that are made here."""

from pathlib import Path

from app.imaging.formats import SUFFIXES
from tools.bench.contenders import REPOSITORY, ContenderFailed
from tools.load.messages import make_photos

MIX = "mix"
SAMPLES = REPOSITORY.parent / "shared" / "data" / "imagenet" / "samples"
"""Real photos, of the sizes at which they were published: 100 of the reference data, which not everybody has."""
MADE = {"small": (16, 224, 224, 75), "large": (16, 500, 375, 93), "phone": (4, 4032, 3024, 80)}
"""The number of photos of each kind that is made, their width and height in pixels, and their JPEG quality."""
KINDS = (MIX, *MADE)
PHOTOS_OF_FOLDER = 16


def default_kinds(samples: Path = SAMPLES) -> list[str]:
    """Return the kinds that can be measured here: all, or those that are made if the real photos are absent."""
    return [kind for kind in KINDS if kind != MIX or samples.is_dir()]


def photos_of(kind: str, samples: Path = SAMPLES) -> list[bytes]:
    """Return the photos of a kind, or as many from all over a folder. Raises `ContenderFailed` if there are none."""
    if kind == MIX:
        if not samples.is_dir():
            raise ContenderFailed(f"{MIX} needs the photos of {samples}, which is absent; {', '.join(MADE)} need none")
        return [path.read_bytes() for path in _files(samples)]
    if kind in MADE:
        return make_photos(*MADE[kind])
    files = _files(Path(kind))
    if not files:
        raise ContenderFailed(f"{kind} is neither one of {', '.join(KINDS)} nor a folder with photos")
    return [path.read_bytes() for path in files[:: max(1, len(files) // PHOTOS_OF_FOLDER)][:PHOTOS_OF_FOLDER]]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
