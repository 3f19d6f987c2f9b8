"""What may go wrong with a worker, as the HTTP process sees it."""


class WorkerDied(Exception):
    """A worker ended in the middle of its work."""


class WorkerHung(WorkerDied):
    """A worker did not reply in time and is given up. The request is not tried again: it would hang another one."""


class BadReply(WorkerDied):
    """A worker answered with something else than a reply to its request, and is given up."""


class WorkerFailed(Exception):
    """A worker could not answer a request, and not because of an image. It can be sent other requests."""
