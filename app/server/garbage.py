"""When Python looks for garbage: not while the service starts, and seldom while it serves."""

import gc

GENERATION_0_THRESHOLD = 10_000
"""How many more new objects than freed ones start a collection of garbage.

At Python's own threshold of 700 (2,000 from Python 3.13 on) collections take a twentieth of the time of a request.
"""


def collect_none() -> None:
    """Collect no garbage until `collect_seldom` is called.

    What imports make stays, nearly all of it: going through it again and again takes a tenth of the start.
    """
    gc.disable()


def collect_seldom() -> None:
    """Exempt what there is by now from every collection, and collect less often: few objects are in cycles.

    The little garbage of the start stays, too. Finding it would take as long as all of the application's routes.
    """
    gc.freeze()
    gc.set_threshold(GENERATION_0_THRESHOLD)
    gc.enable()
