"""Trains a MobileNetV1 on somebody's own photos, and writes the folder that the service then serves."""
