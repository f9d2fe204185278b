"""How many copies of the keys lie in the memory of a web process, and whether more sign-ins make more (LEAK-05).

    .venv/bin/python -m bench.memory [--sign-ins 50] [--var var/bench]

Starts engines of its own on a database of its own that is dropped afterwards. This process is the web process: it
serves whole requests through middleware, forms and templates, and reads its own memory in /proc/self/mem between them,
as root could read that of the real one; others of the same user cannot, see keyvault_admin/hardening.py. Looked for are
the raw bytes of each key and its base64 as it was given, wherever they may be written to. What is read is never kept:
the buffer that is searched is not searched itself.
"""

import argparse
import base64
import ctypes
import os
import re
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

from bench.inventory import ROOT, act_as, prepared

PASSWORD = secrets.token_urlsafe(16)
CHUNK, OVERLAP = 1 << 20, 64
REGION = re.compile(r"([0-9a-f]+)-([0-9a-f]+) rw")


def regions(own: range) -> Iterator[tuple[int, int]]:
    """Return where this process may write, from address to address, without the buffer itself."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        if found := REGION.match(line):
            first, last = (int(part, 16) for part in found.groups())
            if first <= own.start < last:
                yield first, own.start
                yield own.stop, last
            else:
                yield first, last


def copies(needle: bytes) -> int:
    """Count the places that hold these bytes."""
    buffer = bytearray(CHUNK + OVERLAP)
    view = memoryview(buffer)
    begins = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    count, memory = 0, os.open("/proc/self/mem", os.O_RDONLY)
    try:
        for first, last in list(regions(range(begins, begins + len(buffer)))):
            for place in range(first, last, CHUNK):
                wanted = min(CHUNK + len(needle) - 1, last - place)
                try:
                    read = os.preadv(memory, [view[:wanted]], place)
                except OSError:  # a guard page, or gone meanwhile
                    continue
                count += buffer.count(needle, 0, read)
    finally:
        os.close(memory)
    return count


def report(when: str) -> None:
    from django.conf import settings

    print(when)
    for name in ("SEALING_KEY", "DIGEST_KEY"):
        key = getattr(settings, name)
        given = base64.b64encode(key)
        # Less the one that was made to look for it.
        print(f"    {name:<12} raw {copies(key):3}, base64 {copies(given) - 1:3}")


def sign_in_and_work(number: int) -> None:
    """Sign in with a code, look at some pages, sign out."""
    from django.test import Client
    from django.utils import timezone

    from keyvault_admin.access import totp
    from keyvault_admin.access.models import TotpDevice

    device = TotpDevice.objects.get()
    TotpDevice.objects.update(last_step=-1)
    client = Client(headers={"host": "localhost"}, REMOTE_ADDR=f"10.0.{number // 250}.{number % 250 + 1}")
    code = totp.code_at(device.seed(), totp.step_at(timezone.now()))
    answer = client.post("/login/", {"username": "alice", "password": PASSWORD, "code": code})
    assert answer.status_code == 302, answer.status_code
    for page in ("/", "/inventory/key/", "/account/sessions/", "/access/user/"):
        assert client.get(page).status_code == 200
    client.post("/logout/")


def person() -> None:
    from django.contrib.auth.models import Group

    from keyvault_admin.access.models import TotpDevice, User

    act_as("command")
    alice = User.objects.create_user("alice", "alice@example.org", PASSWORD)
    alice.groups.set(Group.objects.filter(name="Security"))
    device = TotpDevice(user=alice, confirmed=True)
    device.draw_seed()
    device.save()
    act_as("web")


def main() -> None:
    sys.stdout.reconfigure(line_buffering=True)
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--sign-ins", type=int, default=50)
    options.add_argument("--var", type=Path, default=ROOT / "var" / "bench", help="where the engines keep their data")
    chosen = options.parse_args()
    with prepared(chosen.var, 100, keep=False):
        person()
        report("before the first request")
        for number in range(chosen.sign_ins):
            sign_in_and_work(number)
            if number + 1 in {1, chosen.sign_ins // 2}:
                report(f"after {number + 1} sign-ins with four pages each")
        report(f"after {chosen.sign_ins} sign-ins with four pages each")


if __name__ == "__main__":
    main()
