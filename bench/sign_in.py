"""Whether the time of a refused sign-in tells what was wrong: four ways to be wrong, side by side.

    .venv/bin/python -m bench.sign_in [--rounds 200]

Starts engines of its own in `var/bench`, with everything flushed to disk as in production, on a database of its own
that is dropped afterwards. Each round makes one try of each way, in an order of its own, from an address of its own, so
that none is locked; a try is the whole request through middleware, form and template, in this process. Printed is the
median of each way and its ratio to that of an unknown name. AUT-01 asks for ratios within 0.90 and 1.10.
"""

import argparse
import os
import random
import secrets
import statistics
import sys
import time
from datetime import UTC, datetime
from ipaddress import IPv4Address

from bench.inventory import act_as, prepared

PASSWORD, WRONG = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
WAYS = {
    "unknown name": ("nobody", WRONG),
    "known name, wrong password": ("alice", WRONG),
    "right password, wrong code": ("bob", PASSWORD),
    "known name, no password yet": ("carol", WRONG),
}


def people() -> None:
    """Register three people with an authenticator app; one of them has no password."""
    from keyvault_admin.access.models import TotpDevice, User

    act_as("command")
    for name in ("alice", "bob", "carol"):
        person = User.objects.create_user(name, f"{name}@example.org", None if name == "carol" else PASSWORD)
        device = TotpDevice(user=person, confirmed=True)
        device.draw_seed()
        device.save()
    act_as("web")


def attempt(way: str, number: int) -> float:
    """Make one try from an address of its own; return the seconds it took."""
    from django.test import Client

    name, password = WAYS[way]
    client = Client(headers={"host": "localhost"}, REMOTE_ADDR=str(IPv4Address(0x0A000000 + number)))
    form = {"username": name, "password": password, "code": "abcdef"}
    started = time.perf_counter()
    answer = client.post("/login/", form)
    taken = time.perf_counter() - started
    assert answer.status_code == 200, answer.status_code
    return taken


def forget_waits() -> None:
    """Take back the pause that a wrong code brings, so that each round finds the same."""
    from keyvault_admin.access.models import TotpDevice

    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    TotpDevice.objects.update(throttling_failure_count=0, throttling_failure_timestamp=long_ago)


def main() -> None:
    sys.stdout.reconfigure(line_buffering=True)
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=200)
    rounds = options.parse_args().rounds
    with prepared(100):
        people()
        taken: dict[str, list[float]] = {way: [] for way in WAYS}
        print(f"load average {' '.join(f'{load:.1f}' for load in os.getloadavg())}, {os.cpu_count()} cores")
        for number in range(rounds + 5):
            forget_waits()
            for place, way in enumerate(random.sample(list(WAYS), len(WAYS))):
                seconds = attempt(way, number * len(WAYS) + place)
                if number >= 5:  # the first ones warm up
                    taken[way].append(seconds)
        known = statistics.median(taken["unknown name"])
        for way, found in taken.items():
            median = statistics.median(found)
            print(f"{way:<28} {median * 1000:7.1f} ms  {median / known:5.3f}")


if __name__ == "__main__":
    main()
