"""Whether the time of a refused sign-in tells what was wrong: five ways to be wrong by three second factors.

    .venv/bin/python -m bench.sign_in [--rounds 200] [--var var/bench]

Starts engines of its own, with everything flushed to disk as in production, on a database of its own that is dropped
afterwards. Each round makes one try of each way, in an order of its own, from an address of its own, so that none is
locked; a try is the whole request through middleware, form and template, in this process. Printed is the median of each
way and its ratio to that of an unknown name by the same factor. AUT-01 asks for ratios within 0.90 and 1.10.
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
from pathlib import Path
from typing import TYPE_CHECKING

from bench.inventory import ROOT, act_as, prepared

if TYPE_CHECKING:
    from django.test import Client

PASSWORD, WRONG = secrets.token_urlsafe(16), secrets.token_urlsafe(16)
KINDS = ("code", "recovery code", "passkey")
UNKNOWN = "unknown name"
WAYS = {
    UNKNOWN: ("nobody", WRONG),
    "known name, wrong password": ("alice", WRONG),
    "right password, wrong factor": ("bob", PASSWORD),
    "right password, no such factor": ("dave", PASSWORD),
    "known name, no password yet": ("carol", WRONG),
}
WARMING = 5  # rounds that are not counted


def people() -> None:
    """Register people with an authenticator app, a passkey and recovery codes; one has no password, one no factor."""
    from django.utils import timezone

    from audit.actor import Actor
    from keyvault_admin.access import services
    from keyvault_admin.access.models import Passkey, TotpDevice, User

    act_as("command")
    for name in ("alice", "bob", "carol", "dave"):
        person = User.objects.create_user(name, f"{name}@example.org", None if name == "carol" else PASSWORD)
        if name == "dave":
            continue
        device = TotpDevice(user=person, confirmed=True)
        device.draw_seed()
        device.save()
        act_as("web")
        services.make_recovery_codes(person=person, actor=Actor.system("bench"), now=timezone.now())
        Passkey.objects.create(user=person, name="x", credential_id=os.urandom(32), public_key=b"x", user_handle=b"x")
        act_as("command")
    act_as("web")


def shown(client: "Client", kind: str) -> dict[str, str]:
    """Return a second factor of the kind that opens nothing."""
    from tests.authenticator import Authenticator

    if kind == "code":
        return {"code": "abcdef"}
    if kind == "recovery code":
        return {"recovery_code": "AAAA-BBBB-CCCC-DDDD-EEEE-FFFF"}
    return {"assertion": Authenticator().get(client.post("/login/passkey/").json())}


def attempt(kind: str, way: str, number: int) -> float:
    """Make one try from an address of its own; return the seconds it took."""
    from django.test import Client

    name, password = WAYS[way]
    client = Client(headers={"host": "localhost"}, REMOTE_ADDR=str(IPv4Address(0x0A000000 + number)))
    form = {"username": name, "password": password, "code": "", **shown(client, kind)}
    started = time.perf_counter()
    answer = client.post("/login/", form)
    taken = time.perf_counter() - started
    assert answer.status_code == 200, answer.status_code
    return taken


def forget_waits() -> None:
    """Take back the pause that a wrong code brings, so that each round finds the same."""
    from keyvault_admin.access.models import RecoverySheet, TotpDevice

    for model in (TotpDevice, RecoverySheet):
        model.objects.update(throttling_failure_count=0, throttling_failure_timestamp=datetime(2026, 1, 1, tzinfo=UTC))


def measure(rounds: int) -> dict[tuple[str, str], list[float]]:
    taken: dict[tuple[str, str], list[float]] = {(kind, way): [] for kind in KINDS for way in WAYS}
    for number in range(rounds + WARMING):
        forget_waits()
        for place, each in enumerate(random.sample(list(taken), len(taken))):
            seconds = attempt(*each, number * len(taken) + place)
            if number >= WARMING:
                taken[each].append(seconds)
    return taken


def main() -> None:
    sys.stdout.reconfigure(line_buffering=True)
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=200)
    options.add_argument("--var", type=Path, default=ROOT / "var" / "bench", help="where the engines keep their data")
    chosen = options.parse_args()
    with prepared(chosen.var, 100, keep=False):
        people()
        print(f"load average {' '.join(f'{load:.1f}' for load in os.getloadavg())}, {os.cpu_count()} cores")
        taken = measure(chosen.rounds)
        for kind in KINDS:
            known = statistics.median(taken[kind, UNKNOWN])
            for way in WAYS:
                median = statistics.median(taken[kind, way])
                print(f"{kind:<14} {way:<31} {median * 1000:7.1f} ms  {median / known:5.3f}")


if __name__ == "__main__":
    main()
