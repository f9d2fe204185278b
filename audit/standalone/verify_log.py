#!/usr/bin/env python3
"""Check an exported audit log of Keyvault Admin, or the proof of one event, without Keyvault Admin.

One file for Python 3.9 and later with the package `cryptography`. It believes nothing but the checkpoints that you kept
and the public key that you were given (--key): numbers, digests and Merkle roots are computed here.

    python verify_log.py EXPORT.ndjson[.gz] --checkpoint FILE_OR_FOLDER … --key VKEY_OR_FILE …
    python verify_log.py --event PROOF.json --key VKEY_OR_FILE …

It ends with 0 when everything is as it was signed, 1 when something is not, 2 when it could not be checked.
The bytes, int64 big-endian: entry = "keyvault-admin/audit/event/v1" 00 ‖ int64 number ‖ int64 len(stamp) ‖ stamp ‖
int64 len(body) ‖ body; digest = SHA-256 of the entry with the digest of the event before it put behind the 00; leaf =
SHA-256(00 ‖ entry), node = SHA-256(01 ‖ left ‖ right) (RFC 6962). Checkpoints are notes of c2sp.org/tlog-checkpoint.
"""

from __future__ import annotations

import argparse
import binascii
import gzip
import itertools
import json
import re
import sys
import zlib
from base64 import b64decode, b64encode
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from struct import pack
from typing import Any, Iterable, Iterator, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

EXPORT, PROOF = "keyvault-admin/audit/export/v1", "keyvault-admin/audit/proof/v1"
LABEL, STAMP_LABEL = b"keyvault-admin/audit/event/v1\0", b"keyvault-admin/audit/stamp/v1"
DIGEST_BYTES, MOST_LINE_BYTES, MOST_NOTE_BYTES = 32, 16 * 1024 * 1024, 64 * 1024
NAMES = ("time", "head", "previous", "epoch")
STAMPED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
WARNINGS = 20


class Damage(Exception):  # noqa: N818 - the word that people read
    """Something is not what was written or signed: exit 1."""


class Unchecked(Exception):  # noqa: N818 - it is no error
    """It cannot be checked like this: exit 2."""


class Link(NamedTuple):
    """One event as it stands in the file."""

    number: int
    id: str
    stamp: bytes
    body: bytes
    digest: bytes


class Checkpoint(NamedTuple):
    """One signed note, as its text says it."""

    file: str
    note: str
    text: str
    origin: str
    size: int
    root: bytes
    time: str
    head: bytes
    previous: bytes
    epoch: int
    signed_by: str  # "" when no key was given to check it with

    @property
    def name(self) -> str:
        return f"checkpoint over {self.size:,} events ({self.file})"


class Tree:
    """The Merkle tree of RFC 6962, of which only the full subtrees at the right edge are held."""

    def __init__(self) -> None:
        self.peaks: list[tuple[int, bytes]] = []

    def add(self, digest: bytes, level: int = 0) -> None:
        while self.peaks and self.peaks[-1][0] == level:
            digest, level = sha256(b"\x01" + self.peaks.pop()[1] + digest).digest(), level + 1
        self.peaks.append((level, digest))

    def root(self) -> bytes:
        digest = b""
        for _, peak in reversed(self.peaks):
            digest = sha256(b"\x01" + peak + digest).digest() if digest else peak
        return digest or sha256(b"").digest()


class InclusionPath:
    """The inclusion proof of one event, gathered while the leaves of the whole tree pass by: O(log n) memory."""

    def __init__(self, index: int, size: int) -> None:
        self.ranges: list[tuple[int, int, Tree]] = []
        begin = 0
        while size - begin > 1:
            half = 1 << (size - begin - 1).bit_length() - 1
            left, right = (begin, begin + half), (begin + half, size)
            (begin, size), sibling = (left, right) if index < begin + half else (right, left)
            self.ranges.insert(0, (sibling[0], sibling[1], Tree()))

    def add(self, begin: int, digest: bytes, level: int = 0) -> None:
        for first, end, tree in self.ranges:
            if first <= begin < end:
                tree.add(digest, level)

    def proof(self) -> list[bytes]:
        return [tree.root() for _, _, tree in self.ranges]


def entry_digest(link: Link, previous: bytes) -> bytes:
    return sha256(LABEL + previous + _rest(link)).digest()


def leaf_digest(link: Link) -> bytes:
    return sha256(b"\0" + LABEL + _rest(link)).digest()


def _rest(link: Link) -> bytes:
    return pack(">qq", link.number, len(link.stamp)) + link.stamp + pack(">q", len(link.body)) + link.body


def root_from_proof(leaf: bytes, index: int, size: int, proof: Iterable[bytes]) -> bytes | None:
    """Source: RFC 9162 §2.1.3.2."""
    place, last, digest = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return None
        if place & 1 or place == last:
            digest = sha256(b"\x01" + sibling + digest).digest()
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            digest = sha256(b"\x01" + digest + sibling).digest()
        place, last = place >> 1, last >> 1
    return digest if last == 0 else None


# Files


def lines_of(path: str) -> Iterator[bytes]:
    """Yield the lines of a file, packed by gzip or not; one at a time is in memory."""
    try:
        with open(path, "rb") as probe:  # noqa: PTH123 - `path` may be any text
            packed = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else open(path, "rb") as file:  # noqa: PTH123 - `path` may be any text
            while line := file.readline(MOST_LINE_BYTES):
                if not line.endswith(b"\n"):
                    raise Damage("The last line of the export has no end: the file was cut.")
                yield line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise Damage(f"The file is cut or damaged: it cannot be unpacked ({error}).") from error
    except OSError as error:
        raise Unchecked(f"{path} cannot be read: {error.strerror}.") from error


def said_in(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise Damage(f"it is no JSON ({error})") from error
    if not isinstance(said, dict):
        raise Damage("it is no JSON object")
    return said


def line_of(said: dict[str, Any]) -> bytes:
    return json.dumps(said, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def link_of(said: dict[str, Any]) -> Link:
    try:
        body = said["body"].encode() if "body" in said else b64decode(said["body_base64"], validate=True)
        stamp, digest = b64decode(said["stamp"], validate=True), bytes.fromhex(said["digest"])
        link = Link(said["number"], said["id"], stamp, body, digest)
        if type(link.number) is not int or not 0 < link.number < 1 << 63 or len(digest) != DIGEST_BYTES:
            raise ValueError("number or digest")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Damage(f"it is no event ({error})") from error
    return link


def written(link: Link) -> dict[str, Any]:
    said: dict[str, Any] = {"number": link.number, "id": str(link.id), "stamp": b64encode(link.stamp).decode()}
    try:
        said["body"] = link.body.decode()
    except UnicodeDecodeError:
        said["body_base64"] = b64encode(link.body).decode()
    said["digest"] = link.digest.hex()
    return said


def header_of(line: bytes) -> tuple[str, int, bytes, list[bytes]]:
    """Return origin, number and digest of the event before the first one, and the peaks of the tree of that size."""
    try:
        said = said_in(line)
        origin, after, digest = said["origin"], said["after"], bytes.fromhex(said["digest"])
        peaks = [bytes.fromhex(peak) for peak in said["peaks"]]
        again = {"format": EXPORT, "origin": str(origin), "after": int(after), "digest": digest.hex()}
        if line_of({**again, "peaks": [peak.hex() for peak in peaks]}) != line:
            raise ValueError("not written as an export writes it")
        if after < 0 or len(digest) != DIGEST_BYTES or len(peaks) != bin(after).count("1"):
            raise ValueError("after, digest and peaks do not fit each other")
    except (Damage, KeyError, TypeError, ValueError) as error:
        raise Damage(f"The first line is no beginning of an export of Keyvault Admin: {error}.") from error
    if after == 0 and digest != bytes(DIGEST_BYTES):
        raise Damage("The first line says that the log begins with event 1, but names an event before it.")
    return origin, after, digest, peaks


def links_in(lines: Iterator[bytes], after: int) -> Iterator[Link]:
    for place, line in enumerate(lines, start=after + 1):
        try:
            link = link_of(said_in(line))
            if line_of(written(link)) != line:
                raise Damage("it is not written as this log writes it")
            yield link
        except Damage as error:
            raise Damage(f"event {place}: edit: its line cannot be read, {error}") from error


# Checkpoints and keys


def keys_of(arguments: list[str]) -> dict[tuple[str, bytes], tuple[str, Ed25519PublicKey]]:
    """Read verifier keys "name+id+key", from the command line or from files; the number of an epoch may precede."""
    keys = {}
    for argument in arguments:
        text = argument if "+" in argument else _text(argument)
        for vkey in (line.split()[-1] for line in text.splitlines() if line.strip()):
            name, identity, encoded = [*vkey.split("+", 2), "", ""][:3]
            try:
                raw = b64decode(encoded, validate=True)
                made = sha256(name.encode() + b"\n" + raw).digest()[:4]
                if raw[:1] != b"\x01" or made.hex() != identity:
                    raise ValueError("its id does not belong to it")
                keys[name, made] = (vkey, Ed25519PublicKey.from_public_bytes(raw[1:]))
            except ValueError as error:
                raise Unchecked(f"{vkey!r} is no key of the form name+id+key ({error}).") from error
    return keys


def checkpoints_in(places: list[str], keys: dict) -> list[Checkpoint]:
    files = [file for place in places for file in (sorted(Path(place).glob("*.checkpoint")) or [Path(place)])]
    return [checkpoint_of(_text(str(file)), file.name, keys) for file in files]


def _text(path: str, most: int = MOST_NOTE_BYTES + 1) -> str:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - `path` may be any text
            return file.read(most).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise Unchecked(f"{path} cannot be read: {error}.") from error


def checkpoint_of(note: str, file: str, keys: dict) -> Checkpoint:
    """Read a note, and check its signature when keys are given: of a known key at least one, and none may be wrong."""
    head, middle, tail = note.rpartition("\n\n")
    text, lines = head + "\n", head.split("\n")
    said = dict(line.partition(" ")[::2] for line in lines[3:])
    if (
        len(note) > MOST_NOTE_BYTES
        or not middle
        or not tail.endswith("\n")
        or len(lines) != 3 + len(NAMES)
        or tuple(said) != NAMES
    ):
        raise Damage(f"{file} is no checkpoint of Keyvault Admin.")
    try:
        size, epoch, root = int(lines[1]), int(said["epoch"]), b64decode(lines[2], validate=True)
        heads = [b64decode(said[name], validate=True) for name in ("head", "previous")]
    except (ValueError, binascii.Error) as error:
        raise Damage(f"{file} is no checkpoint of Keyvault Admin.") from error
    signed_by = _signer(text, tail, file, keys) if keys else ""
    return Checkpoint(file, note, text, lines[0], size, root, said["time"], heads[0], heads[1], epoch, signed_by)


def _signer(text: str, tail: str, file: str, keys: dict) -> str:
    signed_by = ""
    for line in tail[:-1].split("\n"):
        try:
            dash, name, encoded = line.split(" ")
            if dash != "\N{EM DASH}":
                raise ValueError("no line of a signature")
            raw = b64decode(encoded, validate=True)
            vkey, key = keys.get((name, raw[:4]), ("", None))
            if key is not None:
                key.verify(raw[4:], text.encode())
                signed_by = signed_by or vkey
        except (ValueError, InvalidSignature) as error:
            raise Damage(f"{file}: its signature does not belong to its text; it was altered or forged.") from error
    if not signed_by:
        raise Damage(f"{file}: none of the keys that you gave has signed it.")
    return signed_by


def agree(checkpoints: list[Checkpoint], origin: str) -> list[Checkpoint]:
    """Return the checkpoints by size, each once; refuse those that contradict each other."""
    ordered = sorted({each.text: each for each in checkpoints}.values(), key=lambda each: (each.size, each.time))
    epochs: dict[str, int] = {}
    for each in ordered:
        if each.origin != origin:
            raise Damage(f"{each.name} is of another log: {each.origin!r}, not {origin!r}.")
        if each.signed_by and epochs.setdefault(each.signed_by, each.epoch) != each.epoch:
            raise Damage(f"{each.name} was signed by the key of another epoch than it says.")
    for first, second in zip(ordered, ordered[1:]):
        _follow(first, second)
    return ordered


def _follow(first: Checkpoint, second: Checkpoint) -> None:
    both = f"{first.name} and {second.name}"
    if first.size == second.size and (first.root, first.head) != (second.root, second.head):
        raise Damage(f"Split view: {both} say that the log was two different ones. Keep both: one of them is a lie.")
    if second.time < first.time:
        raise Damage(f"Replay or cut: of {both}, the one over fewer events is the later one.")
    if second.epoch < first.epoch:
        raise Damage(f"{both}: an epoch that had ended was signed in again.")
    if second.previous == bytes(DIGEST_BYTES) and first.size < second.size:
        raise Damage(f"{second.name} says that it is the first of all, but there is one before it.")


# The log


class Checking:
    """One pass over an export."""

    def __init__(self, origin: str, after: int, digest: bytes, peaks: list[bytes]) -> None:
        self.origin, self.begin, self.number, self.digest, self.stamp = origin, after, after, digest, b""
        self.tree = Tree()
        self.warnings: list[str] = []
        self.gathering: InclusionPath | None = None
        levels = [level for level in range(after.bit_length() - 1, -1, -1) if after >> level & 1]
        self.peaks = list(zip(levels, peaks))
        self.proven: list[Checkpoint] = []
        for level, peak in self.peaks:
            self.tree.add(peak, level)

    def gather(self, index: int, size: int) -> None:
        """Also gather the proof of one event in the tree of a size."""
        self.gathering, begin = InclusionPath(index, size), 0
        for level, peak in self.peaks:
            self.gathering.add(begin, peak, level)
            begin += 1 << level

    def run(self, links: Iterator[Link], checkpoints: list[Checkpoint], wanted: int | None) -> Link | None:
        """Check every event and each checkpoint where it stands; return the wanted event."""
        found, waiting = None, [each for each in checkpoints if each.size >= self.begin]
        self._compare(waiting)
        for link in links:
            if link.number != self.number + 1 or entry_digest(link, self.digest) != link.digest:
                raise Damage(describe(link, self.number, self.digest, links))
            self._believe(link)
            if link.number == wanted:
                found = link
            if waiting and waiting[0].size == link.number:
                self._compare(waiting)
        return found

    def _believe(self, link: Link) -> None:
        written, leaf = link.stamp[-28:-1], leaf_digest(link)
        try:
            said = said_in(link.body)["id"]
        except (Damage, KeyError) as error:
            raise Damage(f"event {link.number} ({link.id}): edit: the body cannot be read") from error
        if said != link.id or not _is_stamp(link.stamp):
            raise Damage(f"event {link.number} ({link.id}): edit: id or stamp: its bytes say {said}")
        if written < self.stamp and _seconds(self.stamp, written) > 1 and len(self.warnings) < WARNINGS:
            behind = f"{_seconds(self.stamp, written):.0f} seconds behind the event before"
            self.warnings.append(f"event {link.number}: clock jump: the server's clock was {behind}")
        if self.gathering:
            self.gathering.add(self.number, leaf)
        self.tree.add(leaf)
        self.number, self.digest, self.stamp = link.number, link.digest, written

    def _compare(self, waiting: list[Checkpoint]) -> None:
        while waiting and waiting[0].size == self.number:
            each = waiting.pop(0)
            if (each.root, each.head) != (self.tree.root(), self.digest):
                since = self.proven[-1].size if self.proven else self.begin
                raise Damage(
                    f"event {since + 1} to {each.size}: rewritten: the chain is whole in itself, but it is not the "
                    f"one that was signed by the {each.name}. Somebody who could write the whole log has altered, "
                    "removed or added events there and computed all later digests anew."
                )
            self.proven.append(each)


def _is_stamp(stamp: bytes) -> bool:
    parts = stamp.split(b"\0")
    return len(parts) == 6 and parts[0] == STAMP_LABEL and bool(STAMPED.fullmatch(parts[4].decode("ascii", "replace")))


def _seconds(before: bytes, after: bytes) -> float:
    first, second = (datetime.strptime(time.decode(), "%Y-%m-%dT%H:%M:%S.%fZ") for time in (before, after))  # noqa: DTZ007 - both are UTC
    return (first - second).total_seconds()


def describe(link: Link, number: int, digest: bytes, later: Iterator[Link]) -> str:
    """Say what the first event that does not continue the chain looks like."""
    rest = _readable(later)
    following = next(rest, None)
    ahead = itertools.chain([following] if following else [], rest)
    place = number + 1
    if link.number != place:
        moved = next((each for each in itertools.chain([link], ahead) if _fits(each, place, digest)), None)
        if moved:
            return f"event {place} ({moved.id}): reorder: it stands as event {moved.number}"
        return f"event {place}: delete: it is missing, the next event is {link.number}"
    looks_like = "edit: its bytes were altered, or those of the event before together with its digest"
    if following and _fits(following, following.number, entry_digest(link, digest)):
        looks_like = "edit: its digest was altered: the next event continues the digest that the bytes have"
    elif following and _fits(following, following.number + 1, link.digest):
        looks_like = "delete: the event of this number was taken out and the later ones were renumbered"
    else:
        moved = next((each for each in ahead if _fits(each, place, digest)), None)
        if moved:
            looks_like = f"insert or reorder: what belongs here stands as event {moved.number}"
    return f"event {place} ({link.id}): {looks_like}"


def _fits(link: Link, number: int, previous: bytes) -> bool:
    return entry_digest(link._replace(number=number), previous) == link.digest


def _readable(links: Iterator[Link]) -> Iterator[Link]:
    try:
        yield from links
    except Damage:
        return


# What is printed


def check_export(path: str, checkpoints: list[Checkpoint], options: argparse.Namespace) -> None:
    lines = lines_of(path)
    origin, after, digest, peaks = header_of(next(lines, b""))
    ordered, checking = agree(checkpoints, origin), Checking(origin, after, digest, peaks)
    target = next((each for each in ordered if options.proof and each.size >= options.proof > after), None)
    if options.proof and not target:
        raise Unchecked(f"No checkpoint given covers event {options.proof}, or the export begins after it.")
    if target:
        checking.gather(options.proof - 1, target.size)
    found = checking.run(links_in(lines, after), ordered, options.proof)
    _print_export(checking, ordered)
    beyond = [each for each in ordered if each.size > checking.number]
    if beyond and not options.partial:
        raise Damage(
            f"event {checking.number + 1}: cut: the export ends at event {checking.number}, but the {beyond[0].name} "
            "was signed. If the export was made to end there, say so with --partial."
        )
    if target and found and checking.gathering and target in checking.proven:
        _write_proof(options.out or f"event-{found.number}.proof.json", found, target, checking.gathering.proof())


def _print_export(checking: Checking, checkpoints: list[Checkpoint]) -> None:
    print(f"log: {checking.origin}")
    print(f"events {checking.begin + 1:,} to {checking.number:,}: numbers and digests follow on each other")
    print(f"digest of the last one: {checking.digest.hex()}")
    for warning in checking.warnings:
        print(f"warning: {warning}")
    for each in checkpoints:
        signed = (
            "signature, root and head are right" if each.signed_by else "root and head are right, SIGNATURE UNCHECKED"
        )
        if each not in checking.proven:
            signed = "not compared: it lies outside this export"
        print(f"{each.name}, epoch {each.epoch}, {each.time}: {signed}")
    covered = checking.proven[-1].size if checking.proven else 0
    if not checking.proven:
        print("NO CHECKPOINT was compared: whoever could write the whole log could have made this one up.")
    elif covered < checking.number:
        print(f"{checking.number - covered:,} events are newer than that; the chain alone speaks for them")


def _write_proof(path: str, link: Link, checkpoint: Checkpoint, proof: list[bytes]) -> None:
    said = {"format": PROOF, "event": written(link), "size": checkpoint.size, "proof": [each.hex() for each in proof]}
    try:
        with open(path, "x", encoding="ascii") as file:  # noqa: PTH123 - `path` may be any text
            json.dump({**said, "checkpoint": checkpoint.note}, file, indent=1)
    except OSError as error:
        raise Unchecked(f"{path} cannot be written: {error.strerror}.") from error
    print(f"proof of event {link.number:,}: written to {path}")


def check_event(path: str, keys: dict) -> None:
    """Check the proof of one event: that its bytes are a leaf of the tree whose root was signed."""
    said = said_in(_text(path, MOST_LINE_BYTES).encode())
    try:
        link, size, proof = link_of(said["event"]), said["size"], [bytes.fromhex(each) for each in said["proof"]]
        checkpoint = checkpoint_of(said["checkpoint"], path, keys)
        if said["format"] != PROOF or size != checkpoint.size or said["event"] != written(link):
            raise ValueError("not written as this log writes it")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Damage(f"{path} is no proof of an event ({error}).") from error
    place = f"event {link.number} ({link.id})"
    if link.number > size or root_from_proof(leaf_digest(link), link.number - 1, size, proof) != checkpoint.root:
        raise Damage(f"{place}: its bytes and the proof do not lead to the root that was signed over {size:,} events.")
    Checking(checkpoint.origin, link.number - 1, b"", [])._believe(link)
    signed = "whose signature is right" if checkpoint.signed_by else "whose SIGNATURE IS UNCHECKED"
    print(f"{place} is in the log {checkpoint.origin}, by its checkpoint over {size:,} events of {checkpoint.time},")
    print(f"{signed}. Its bytes say:")
    print(json.dumps(json.loads(link.body.decode()), indent=2, ensure_ascii=True))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Check an exported audit log of Keyvault Admin, or one event's proof.")
    parser.add_argument("export", nargs="?", help="the export, .ndjson or .ndjson.gz")
    parser.add_argument("--checkpoint", action="append", default=[], metavar="FILE", help="a note, or a folder of them")
    parser.add_argument(
        "--key", action="append", default=[], metavar="VKEY", help="name+id+key, or a file with such lines"
    )
    parser.add_argument("--event", metavar="FILE", help="check this proof of one event instead of an export")
    parser.add_argument("--proof", type=int, metavar="NUMBER", help="also write the proof of one event of the export")
    parser.add_argument("--out", metavar="FILE", help="where --proof writes it")
    parser.add_argument("--partial", action="store_true", help="the export was made to end before some checkpoints")
    options = parser.parse_args(arguments)
    if bool(options.export) == bool(options.event):
        parser.error("give an export, or --event FILE")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    try:
        keys = keys_of(options.key)
        if options.event:
            check_event(options.event, keys)
        else:
            check_export(options.export, checkpoints_in(options.checkpoint, keys), options)
    except Damage as error:
        print(f"NOT WHOLE: {error}")
        return 1
    except Unchecked as error:
        print(f"NOT CHECKED: {error}")
        return 2
    if not keys:
        print("NO KEY was given (--key): nobody's signature was checked.")
    print("WHOLE: nothing was found.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
