"""Where models run: in worker processes, in threads, or in the process that takes requests."""
