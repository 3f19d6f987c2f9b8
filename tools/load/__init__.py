"""Load on a running service, and what it does to the service."""
