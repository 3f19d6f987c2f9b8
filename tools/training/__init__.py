"""Trains networks on photos, in Keras."""
