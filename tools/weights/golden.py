"""Draw the golden images of the self-test, and pin the answer of each bundled model to them.

Run it when the bundled weights change. If the pinned answers change otherwise, the answers of the service have changed.
"""

from io import BytesIO

import typer
from PIL import Image, ImageDraw
from rich.progress import track

from app.config import Settings
from app.engines.bundle import BUNDLED
from app.engines.weights import variants
from app.model import loading
from app.model.golden import ANSWERS, answers
from tools.weights.evaluate import PRECISIONS

EXIF_ORIENTATION = 0x0112
QUARTER_TURN = 6


def golf_ball() -> bytes:
    """Draw a golf ball on grass, as WebP."""
    image = Image.new("RGB", (240, 180), (60, 120, 40))
    draw = ImageDraw.Draw(image)
    for x in range(0, 240, 3):
        draw.line((x, 180, x + 4, 20 + (x * 37) % 60), fill=(50 + x % 40, 130 + (x * 7) % 60, 40))
    draw.ellipse((60, 40, 160, 140), fill=(235, 235, 230))
    for x in range(70, 150, 10):
        for y in range(50, 130, 10):
            if (x - 110) ** 2 + (y - 90) ** 2 < 40**2:
                draw.ellipse((x, y, x + 6, y + 6), fill=(205, 205, 200))
    return _encoded(image, "WEBP", quality=80)


def parachute() -> bytes:
    """Draw a parachute, as PNG with a half-transparent sky."""
    image = Image.new("RGBA", (150, 200), (0, 60, 40, 64))
    draw = ImageDraw.Draw(image)
    for start, colour in enumerate([(220, 40, 40), (240, 200, 40), (220, 40, 40), (240, 200, 40)]):
        draw.pieslice((25, 20, 125, 120), 180 + start * 45, 225 + start * 45, fill=colour)
    for x in range(25, 126, 20):
        draw.line((x, 70, 75, 150), fill=(40, 40, 40), width=1)
    draw.rectangle((71, 150, 79, 170), fill=(30, 30, 60))
    return _encoded(image, "PNG", optimize=True)


def street() -> bytes:
    """Draw a gas pump, a truck and a ball, so that no class is certain, as JPEG that EXIF says has to be turned."""
    image = Image.new("RGB", (260, 160), (200, 200, 190))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 130, 260, 160), fill=(110, 110, 110))
    draw.rectangle((95, 20, 155, 140), fill=(190, 30, 30))
    draw.rectangle((103, 30, 147, 60), fill=(230, 240, 240))
    for y in (36, 44, 52):
        draw.line((107, y, 143, y), fill=(20, 20, 20), width=2)
    draw.rectangle((165, 70, 250, 125), fill=(40, 110, 60))
    draw.rectangle((225, 50, 250, 90), fill=(60, 140, 80))
    for x in (180, 230):
        draw.ellipse((x, 115, x + 20, 135), fill=(20, 20, 20))
    draw.ellipse((45, 105, 85, 145), fill=(235, 235, 230))
    draw.arc((140, 50, 190, 130), 270, 90, fill=(20, 20, 20), width=4)
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = QUARTER_TURN
    return _encoded(image.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=85, exif=exif)


def _encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def main() -> None:
    """Write `model_weights/golden/`."""
    BUNDLED.golden.mkdir(exist_ok=True)
    files = {"golf-ball.webp": golf_ball(), "parachute.png": parachute(), "street.jpg": street()}
    for name, content in files.items():
        (BUNDLED.golden / name).write_bytes(content)
    pairs = [(variant, precision) for variant in variants(Settings()) for precision in PRECISIONS]
    pinned = []
    for variant, precision in track(pairs, "pinning"):
        model = loading.load(Settings(alpha=variant.alpha, resolution=variant.resolution, precision=precision))
        pinned.append(answers(model, [BUNDLED.golden / name for name in files]))
    (BUNDLED.golden / "answers.json").write_bytes(ANSWERS.dump_json(pinned) + b"\n")


if __name__ == "__main__":
    typer.run(main)
