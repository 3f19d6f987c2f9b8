"""From weights on disk to an engine that predicts."""
