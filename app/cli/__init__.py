"""The command line: `mobilenet serve`, `classify`, `info`, `compile` and `bench`."""
