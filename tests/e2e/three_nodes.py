"""A cluster of three nodes of Ray on this machine, each with processes of its own: `python -m tests.e2e.three_nodes`.

It prints a line of JSON with its address and the process of each node, and ends when its standard input is closed.
"""

import json
import sys
from typing import Any

from ray.cluster_utils import Cluster

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}
ATTEMPTS = 4
"""On a busy machine, a node gives up before its processes have started."""


def added(cluster: Any) -> Any:
    """Add a node."""
    for _ in range(ATTEMPTS - 1):
        try:
            return cluster.add_node(**NODE)
        except Exception as exc:  # Ray raises this class itself
            print(exc, file=sys.stderr)
    return cluster.add_node(**NODE)


def main() -> None:
    """Start the nodes, and wait."""
    cluster = Cluster(shutdown_at_exit=True)
    nodes = [added(cluster) for _ in range(3)]
    raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
    print(json.dumps({"address": cluster.address, "raylets": raylets}), flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
