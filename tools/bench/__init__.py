"""The service beside others that serve the same model, and beside the bare loop: `python -m tools.bench`."""
