"""An image-classification REST service around MobileNetV1, which says what each answer cost."""

from app.version import __version__

__all__ = ["__version__"]
