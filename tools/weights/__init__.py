"""The files of `model_weights/`: made, evaluated, calibrated and pinned."""
