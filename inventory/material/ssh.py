"""SSH public keys: authorized_keys, *.pub and known_hosts lines. Source: sshd(8), "AUTHORIZED_KEYS FILE FORMAT"."""

import re
from collections.abc import Iterator

from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity, load_ssh_public_key

from inventory.material.facts import (
    UNREADABLE,
    MaterialError,
    MaterialFacts,
    MaterialRefusal,
    facts_of_key,
    private_key,
    unreadable,
)
from inventory.recognise import holds_key_material
from inventory.terms import KeyKind

_LONGEST_LINE = 32 * 1024
_TYPE = (
    r"(?:ssh-(?:rsa|dss|ed25519)|ecdsa-sha2-nistp(?:256|384|521)"
    r"|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com|(?:ssh|ecdsa)-[a-z0-9-]{1,40}-cert-v01@openssh\.com)"
)
_KEY = re.compile(rf"({_TYPE})[ \t]+([A-Za-z0-9+/]+=*)(?:[ \t]+(.*))?")
_OPTIONS = re.compile(r'(?:[^\s"]++|"(?:[^"\\]++|\\.)*+")++[ \t]++')  # or the hosts of a known_hosts line
_PRIVATE = re.compile(r"PRIVATE KEY|PuTTY-User-Key-File|AGE-SECRET-KEY-")
_CERTIFICATE_SUFFIX = "-cert-v01@openssh.com"


def read_ssh(text: str, *, max_lines: int) -> Iterator[MaterialFacts | MaterialRefusal]:
    """Read line by line; blank ones and comments are passed over. Of a line that is refused nothing is repeated.

    Raises: MaterialError when there are too many lines.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if (lines := text.count("\n")) > max_lines:
        raise MaterialError(f"The file has {lines:,} lines; {max_lines:,} is the most.", "Split it.")
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip()  # noqa: PLW2901 - the line without what surrounds it
        where = f"line {number:,}"
        if _PRIVATE.search(line[:_LONGEST_LINE]) or holds_key_material(line[:_LONGEST_LINE]):
            yield private_key(where)
        elif line and not line.startswith("#"):
            yield _read(line, where)


def is_ssh(text: str) -> bool:
    """Say whether the first line that says anything is a public key."""
    first = next((line.strip() for line in text[:_LONGEST_LINE].splitlines() if line.strip()[:1] not in {"", "#"}), "")
    return _parts(first) is not None


def _parts(line: str) -> re.Match[str] | None:
    """Find type, key and comment of a line; options come before them, and what stands in quotes there is no key."""
    if found := _KEY.fullmatch(line):
        return found
    options = _OPTIONS.match(line)
    return _KEY.fullmatch(line, options.end()) if options else None


def _read(line: str, where: str) -> MaterialFacts | MaterialRefusal:
    found = _parts(line) if len(line) <= _LONGEST_LINE else None
    if found is None:
        return unreadable(where, "SSH public key")
    encoded = f"{found[1]} {found[2]}".encode()
    try:
        if found[1].endswith(_CERTIFICATE_SUFFIX):
            identity = load_ssh_public_identity(encoded)
            key = identity.public_key() if isinstance(identity, SSHCertificate) else identity
        else:
            key = load_ssh_public_key(encoded)
        return facts_of_key(key, where=where, kind=KeyKind.SSH_KEY.value, names=(found[3] or "",), label="SSH key")
    except UNREADABLE:
        return unreadable(where, "SSH public key")
