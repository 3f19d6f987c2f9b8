"""The Open Inference Protocol over gRPC. It needs the extra `grpc`, and is imported only if a port is set for it."""

import os

GRPC = "grpc"
"""Under this name the state of the application has its gRPC server, or None."""

# What gRPC's core would write on standard error is what single callers do wrong, a line each.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
