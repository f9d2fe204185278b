"""Running the same work in several processes, all from the same moment."""

import multiprocessing
from collections.abc import Callable, Sequence
from time import perf_counter

FORK = multiprocessing.get_context("fork")


def side_by_side(acts: Sequence[Callable[[], object]]) -> float:
    """Run each in a process of its own, all from the same moment; return how long all of them took."""
    ready, go = FORK.Barrier(len(acts) + 1), FORK.Event()

    def run(act: Callable[[], object]) -> None:
        ready.wait()
        go.wait()
        act()

    children = [FORK.Process(target=run, args=(act,)) for act in acts]
    for child in children:
        child.start()
    ready.wait()
    started = perf_counter()
    go.set()
    for child in children:
        child.join()
    assert all(child.exitcode == 0 for child in children)
    return perf_counter() - started


def closed() -> None:
    """Let go of what a child must not share."""
    from django.db import connections

    from inventory.custody import forget_stores

    connections.close_all()
    forget_stores()
