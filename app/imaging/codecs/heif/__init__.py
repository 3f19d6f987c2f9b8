"""HEIC and AVIF: a photo in a HEIF container, whole or in tiles (ISO/IEC 23008-12)."""

from app.imaging.codecs.heif.image import opened

__all__ = ["opened"]
