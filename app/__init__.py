"""MobileNetV1 as an image-classification REST service that is honest about its cost."""

__version__ = "0.1.0"
