#!/usr/bin/env python3
"""Check a certificate of Keyvault Admin without Keyvault Admin.

One file for Python 3.9 and later with the package `cryptography`. It believes nothing but the public key that you were
given: that of the log (manage.py checkpoint --verifier prints it), or that of its certificates (/certificate).

    python verify_certificate.py FILE --key VKEY …

It ends with 0 when the certificate says what was signed, and prints it; else with 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from base64 import b64decode, b64encode
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FILE, BODY = "keyvault-admin/certificate-file/v1", "keyvault-admin/certificate/v1"
LABEL, MOST_BYTES = "/certificate", 4 * 1024 * 1024
ID_BYTES = 4


class NotValid(Exception):  # noqa: N818 - the word that people read
    """It does not say what was signed, or nobody you named has signed it."""


def keys_of(vkeys: list[str]) -> dict[tuple[str, bytes], Ed25519PublicKey]:
    """Read keys "name+id+key", each under the name that certificates are signed with."""
    keys = {}
    for vkey in vkeys:
        name, identity, encoded = [*vkey.strip().split("+", 2), "", ""][:3]
        try:
            raw = b64decode(encoded, validate=True)
            if raw[:1] != b"\x01" or _id(name, raw).hex() != identity:
                raise ValueError("its id does not belong to it")
            key = Ed25519PublicKey.from_public_bytes(raw[1:])
        except ValueError as error:
            raise NotValid(f"{vkey!r} is no key of the form name+id+key ({error}).") from error
        name = name if name.endswith(LABEL) else name + LABEL
        keys[name, _id(name, raw)] = key
    return keys


def _id(name: str, raw: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + raw).digest()[:ID_BYTES]


def check(text: str, vkeys: list[str]) -> dict:
    """Return what a certificate says, once its signature and digest were checked. Raises: NotValid."""
    try:
        said = json.loads(text)
        body, note = said["body"].encode(), said["note"]
        told = json.loads(body)
        signed, lines = note.rpartition("\n\n")[0] + "\n", note.rpartition("\n\n")[2].splitlines()
        known = said["format"] == FILE and told["format"] == BODY
        name = signed.partition("\n")[0]
        digest = b64encode(sha256(body).digest()).decode()
        beginning = f"{name}\nkind {told['kind']}\nmade {told['made_at']}\nsha256 {digest}\nepoch "
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise NotValid("This file is no certificate of Keyvault Admin.") from error
    epoch = signed[len(beginning) :]
    if not known or not signed.startswith(beginning) or not epoch.strip().isdecimal() or epoch.count("\n") != 1:
        raise NotValid("What the certificate says is not what was signed.")
    if not any(_signed_by(line, signed, name, keys_of(vkeys)) for line in lines):
        raise NotValid("No key that you named has signed this.")
    return dict(told)


def _signed_by(line: str, signed: str, name: str, keys: dict) -> bool:
    """Whether a line "— name base64(id ‖ signature)" is that of a known key over the text."""
    dash, _, rest = line.partition(" ")
    signer, _, encoded = rest.partition(" ")
    try:
        raw = b64decode(encoded, validate=True)
        key = keys.get((signer, raw[:ID_BYTES]))
        if dash != "—" or signer != name or key is None:
            return False
        key.verify(raw[ID_BYTES:], signed.encode())
    except (InvalidSignature, ValueError) as error:
        raise NotValid("The signature does not belong to this text.") from error
    return True


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Check a certificate of Keyvault Admin.")
    parser.add_argument("file")
    parser.add_argument("--key", action="append", required=True, metavar="VKEY")
    options = parser.parse_args(arguments)
    try:
        with open(options.file, "rb") as file:  # noqa: PTH123 - `file` may be any text
            told = check(file.read(MOST_BYTES + 1).decode(), options.key)
    except (OSError, UnicodeDecodeError, NotValid) as error:
        print(f"NOT VALID: {error}", file=sys.stderr)
        return 1
    print("VALID")
    print(_visible(json.dumps(told, indent=1, ensure_ascii=False)))
    return 0


def _visible(text: str) -> str:
    """Name the characters that a terminal obeys, that turn round what is read, or that the output cannot hold."""
    named = "".join(one if one.isprintable() or one == "\n" else f"\\u{ord(one):04x}" for one in text)
    encoding = sys.stdout.encoding or "ascii"
    return named.encode(encoding, "backslashreplace").decode(encoding)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
