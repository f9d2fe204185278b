"""The worker of imports, in this process: the very service that the task calls, under the worker's login."""

from django.utils import timezone

from inventory import services
from inventory.import_previews import DRAW


def work_off(as_role):
    """Do everything that waits, and what comes of it; return the states in order."""
    states = []
    with as_role("worker"):
        while waiting := services.waiting_imports():
            states += [services.work_off_import(pk=pk, draw=DRAW, now=timezone.now()) for pk in waiting]
    return states


def brought(client, as_role, path):
    """Return the page of a file when the worker has done what it can."""
    work_off(as_role)
    return client.get(path)
