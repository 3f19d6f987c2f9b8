"""Training from photos, in Keras."""
