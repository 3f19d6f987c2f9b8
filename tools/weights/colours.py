"""Measure what colour profiles change: photos are converted to other profiles, and their answers compared.

Each photo is written as a JPEG in sRGB, and in each profile with the profile attached and without it. The service reads
the last two differently: it converts the one to sRGB, and has to take the other for sRGB, as it would take both if it
ignored profiles. The settings of the service say which model answers.
"""

import sys
from io import BytesIO
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image, ImageCms, ImageOps
from rich.console import Console
from rich.progress import track

from app import environment
from app.errors import StartError
from app.imaging.codecs import icc
from app.imaging.formats import SUFFIXES
from app.runtime.local import Local, in_process
from app.runtime.pipeline import Job

QUALITY = 95
COUNT = 100
DISPLAY_P3 = "Display P3"
SRGB = ImageCms.createProfile("sRGB")
P3_PRIMARIES, SRGB_CURVE = 12, 13
"""Code points of H.273."""


def written(photo: Image.Image, profile: bytes | None = None) -> tuple[bytes, bytes]:
    """Return a photo in sRGB as a JPEG in the colours of a profile, with the profile attached and without it."""
    if profile is not None:
        target = ImageCms.ImageCmsProfile(BytesIO(profile))
        inks = target.profile.xcolor_space.strip() == "CMYK"
        photo = ImageCms.profileToProfile(photo, SRGB, target, outputMode="CMYK" if inks else "RGB") or photo
    return _jpeg(photo, profile), _jpeg(photo, None)


def _jpeg(photo: Image.Image, profile: bytes | None) -> bytes:
    buffer = BytesIO()
    photo.save(buffer, "JPEG", quality=QUALITY, icc_profile=profile)
    return buffer.getvalue()


def best(pipeline: Local, files: list[bytes]) -> list[int]:
    """Return the most probable class of each file. Raises the `ServiceError` of one that cannot be read."""
    found = []
    for result in pipeline.run([Job(file, (pipeline.models[0].variant,)) for file in files], large=True):
        if not isinstance(result, tuple):
            raise result
        found.append(int(result[0].probabilities.argmax()))
    return found


def compare(pipeline: Local, paths: list[Path], profiles: dict[str, bytes]) -> dict[str, tuple[int, int]]:
    """Return for how many photos the best class changes by each profile: if it is ignored, and as it is read."""
    changed = {name: [0, 0] for name in profiles}
    for path in track(paths, "photos", console=Console(stderr=True)):
        photo = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        versions = [written(photo, profile) for profile in profiles.values()]
        (plain,) = best(pipeline, [written(photo)[1]])
        for name, (attached, bare) in zip(profiles, versions, strict=True):
            ignored, read = best(pipeline, [bare, attached])
            changed[name][0] += ignored != plain
            changed[name][1] += read != plain
    return {name: (ignored, read) for name, (ignored, read) in changed.items()}


def main(
    photos: Annotated[Path, typer.Argument(help="Folder of photos in sRGB, of whatever subjects.")],
    profile: Annotated[list[Path] | None, typer.Option(help="ICC profiles to convert to, beside Display P3.")] = None,
    count: Annotated[int, typer.Option(help="How many photos, from all over the folder.")] = COUNT,
) -> None:
    """Print a table in Markdown: by how many photos the best class changes in each profile."""
    try:
        pipeline = in_process(environment.load())
    except StartError as exc:
        sys.exit(exc.report)
    files = sorted(path for path in photos.rglob("*") if path.suffix.lower() in SUFFIXES)
    paths = files[:: max(1, len(files) // count)][:count]
    profiles = {DISPLAY_P3: icc.of_code_points(P3_PRIMARIES, SRGB_CURVE)}
    profiles |= {path.stem: path.read_bytes() for path in profile or ()}
    print(f"| of {len(paths)} photos another best class | profile ignored | profile read |\n| --- | ---: | ---: |")
    for name, (ignored, read) in compare(pipeline, paths, profiles).items():
        print(f"| {name} | {ignored} | {read} |")


if __name__ == "__main__":
    typer.run(main)
