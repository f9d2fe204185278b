"""IMP-01: 150 hostile files are refused cleanly, each in at most 2 s of processor time and 50 MB of memory."""

import json
import os
import resource
import signal
import sys
import time
from datetime import date
from typing import Any

import pytest

from inventory.material import MaterialError, read_material
from inventory.reading import TableError, read_inventory
from tests.inventory.hostile import MOST, ROWS, Hostile, corpus

TODAY = date(2026, 11, 21)
CORPUS = corpus()
MOST_SECONDS = 2
MOST_MEGABYTES = 50


def outcome(content: bytes, reader: str) -> dict[str, Any]:
    """Say what became of a file: refused with a sentence, or how many of its rows or keys are good."""
    try:
        if reader == "material":
            material = read_material(content, max_bytes=MOST)
            return {"accepted": len(material.items), "not": len(material.refusals)}
        reading = read_inventory(content, today=TODAY, max_bytes=MOST, max_rows=ROWS)
    except (TableError, MaterialError) as error:
        return {"accepted": None, "sentence": f"{error.problem} {error.mend}"}
    return {"accepted": len(reading.rows), "not": len(reading.refusals)}


def measured(content: bytes, reader: str) -> dict[str, Any]:
    """Read a file in a process of its own, and say what it cost there."""
    take, give = os.pipe()
    child = os.fork()
    if not child:
        _read_and_tell(content, reader, give)
    os.close(give)
    with os.fdopen(take) as told:
        answer = told.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the reader died of {signal.strsignal(status & 0x7F)}"
    return dict(json.loads(answer))


def _read_and_tell(content: bytes, reader: str, give: int) -> None:
    """Run in the child, which never comes back."""
    status = 1
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        told = outcome(content, reader)
        told["seconds"] = time.process_time() - began
        told["megabytes"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        os.write(give, json.dumps(told).encode())
        status = 0
    finally:
        os._exit(status)


def test_the_corpus_has_150_files() -> None:
    assert len({one.name for one in CORPUS}) == len(CORPUS) >= 150


@pytest.mark.parametrize("hostile", CORPUS if "tests.full" in sys.modules else CORPUS[::2], ids=lambda one: one.name)
def test_a_hostile_file_is_refused_cleanly_and_cheaply(hostile: Hostile) -> None:
    told = measured(hostile.make(), hostile.reader)
    assert told["accepted"] == hostile.accepted, told
    if hostile.accepted is None:
        assert 20 < len(told["sentence"]) < 400
        assert told["sentence"].isprintable()
    else:
        assert told["not"] > 0
    assert told["seconds"] < MOST_SECONDS, told
    assert told["megabytes"] < MOST_MEGABYTES, told
