"""A folder of weights and all that is known of them: `model_weights`, or one that `mobilenet train` has written.

MANIFEST.toml             the SHA-256 of each of the following files
NAME_<α>.weights.h5       Keras weights, from which the compiled models are made; they serve every resolution
NAME_<α>.<precision>.tflite   compiled models, so that serving needs no TensorFlow
NAME.labels.txt           the classes
accuracy.json, familiarity.json, golden/   what was measured of them, and answers to check them by
"""

from dataclasses import dataclass
from pathlib import Path

from app.config import MODEL_WEIGHTS
from app.engines.files import entries, verified
from app.errors import StartError
from app.mobilenet.variants import ALPHAS, Precision

WEIGHTS = ".weights.h5"


@dataclass(frozen=True, slots=True)
class Bundle:
    """The folder, and the name of its weights, with which the names of its files begin."""

    folder: Path
    name: str

    @classmethod
    def open(cls, folder: Path) -> "Bundle":
        """Find the name of the weights in the manifest. Raises `StartError` if this is no folder of weights."""
        if not folder.is_dir():
            raise StartError(f"{folder} is not a folder")
        names = {file.removesuffix(WEIGHTS).rpartition("_")[0] for file in entries(folder) if file.endswith(WEIGHTS)}
        names.discard("")
        if not names:
            raise StartError(f"the manifest of {folder} names no weights (NAME_α{WEIGHTS})")
        if len(names) > 1:
            raise StartError(f"the manifest of {folder} names weights of several names: {', '.join(sorted(names))}")
        return cls(folder, names.pop())

    @property
    def alphas(self) -> list[float]:
        """The width multipliers α that the folder has weights for, the largest first."""
        known = entries(self.folder)
        return [alpha for alpha in ALPHAS if self.weights(alpha).name in known]

    def weights(self, alpha: float) -> Path:
        """Return the path of the Keras weights of this α."""
        return self.folder / f"{self.name}_{alpha:g}{WEIGHTS}"

    def compiled(self, alpha: float, precision: Precision) -> Path:
        """Return the path of the compiled model of this α and precision; one file serves every resolution."""
        return self.folder / f"{self.name}_{alpha:g}.{precision}.tflite"

    @property
    def labels(self) -> Path:
        """The path of the labels."""
        return self.folder / f"{self.name}.labels.txt"

    @property
    def golden(self) -> Path:
        """The folder of the golden images and of the pinned answers to them."""
        return self.folder / "golden"

    def has(self, path: Path) -> bool:
        """Whether the manifest has a file of this name, which then has to be there as it says."""
        return path.name in entries(self.folder)

    def sha256(self, alpha: float) -> str:
        """Return the SHA-256 of the weights of this α. Raises `StartError` if there are none, or if they are damaged.

        Where only compiled models were copied, as in the container image, the weights themselves are not there.
        """
        path = self.weights(alpha)
        entry = entries(self.folder).get(path.name)
        if entry is None:
            known = ", ".join(f"{alpha:g}" for alpha in self.alphas)
            raise StartError(
                f"MOBILENET_ALPHA={alpha:g}: the weights of {self.name} have α {known} (a service that runs already "
                "has to be restarted for another α)"
            )
        if path.exists():
            verified(path)
        return str(entry["sha256"])


BUNDLED = Bundle(MODEL_WEIGHTS, "imagenette")
"""The weights that come with the service."""
