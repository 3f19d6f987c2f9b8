"""Other servers around the same model. Each is run in an environment of its own and imports nothing of the service."""
