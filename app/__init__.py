"""An image-classification REST service around MobileNetV1, which says what each answer cost."""

__version__ = "0.1.0"
