"""Compares the service with other servers of the same model, and with a bare loop: `python -m tools.bench`."""
