"""Other servers of the same model. Each runs in an environment of its own, and imports nothing from the service."""
