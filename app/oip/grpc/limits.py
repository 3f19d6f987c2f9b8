"""How many connections gRPC may have of those that the open files of a process allow."""

MOST = 1024
"""Each carries many calls at the same time, so that a client needs one."""


def most_connections(open_files: int) -> int:
    """Return how many connections a process may have over gRPC, which so many fewer are left for HTTP."""
    return min(MOST, open_files // 4)
