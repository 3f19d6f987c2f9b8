"""The Open Inference Protocol over gRPC. It needs the extra `grpc`, and is imported only if a port is set for it."""

import os

GRPC = "grpc"
"""Key in the state of the application; its value is the gRPC server, or None without one."""

MOST_CONNECTIONS = 1024
"""Each carries many calls at the same time, so that a client needs one."""


def most_connections(open_files: int) -> int:
    """Return how many connections a process that may open so many files may have over gRPC; HTTP has the others."""
    return min(MOST_CONNECTIONS, open_files // 4)


# Otherwise gRPC's core would write a line on standard error for each thing that a single client does wrong.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
