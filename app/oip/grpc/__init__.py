"""The Open Inference Protocol over gRPC. It needs the extra `grpc`, and is imported only if a port is set for it."""

import os

GRPC = "grpc"
"""Under this name the state of the application has its gRPC server, or None."""

MOST_CONNECTIONS = 1024
"""Each carries many calls at the same time, so that a client needs one."""


def most_connections(open_files: int) -> int:
    """Return how many connections a process may have over gRPC, which so many fewer are left for HTTP."""
    return min(MOST_CONNECTIONS, open_files // 4)


# What gRPC's core would write on standard error is what single callers do wrong, a line each.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
