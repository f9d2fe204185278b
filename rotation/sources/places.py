"""Where a source is: hosts that the settings name, the address they have at this moment, how TLS is asked for."""

import ipaddress
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from django.conf import settings

from rotation.models import RewrapSource
from rotation.sources.errors import NotAllowedPlaceError, SecretFileError

_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|[0-9a-f:]{2,39}")
LONGEST_SECRET = 4096
OTHERS = 0o007  # in the mode of a file: what everybody may


@dataclass(frozen=True, kw_only=True)
class Place:
    """A server to connect to; the addresses are those that were looked at, tried one after the other."""

    host: str
    addresses: tuple[str, ...]
    port: int
    is_loopback: bool  # by its name and by its address: nothing said to it leaves this machine


def place_of(host: str, port: int) -> Place:
    """Return where a host is, looked up now. Raises: NotAllowedPlaceError."""
    name = _host_name(host)
    if not _is_named(name, port):
        raise _not_named(name, port)
    addresses = _addresses(name, port)
    for address in addresses:
        _check_address(name, address)
    is_loopback = _is_loopback_name(name) and all(address.is_loopback for address in addresses)
    return Place(host=name, addresses=tuple(map(str, addresses)), port=port, is_loopback=is_loopback)


def check_asked(host: str, port: int) -> None:
    """Look at a host that somebody asks for, without looking it up.

    Settings that name no host are those of a process that contacts none: the worker will look. Raises:
    NotAllowedPlaceError.
    """
    name = _host_name(host)
    if settings.SOURCE_HOSTS and not _is_named(name, port):
        raise _not_named(name, port)


def _host_name(host: str) -> str:
    name = host.lower()
    if _HOST.fullmatch(name) is None:
        raise NotAllowedPlaceError(
            "This is no name of a host: one name or address, without a comma or a path.", field="host"
        )
    return name


def _is_named(name: str, port: int) -> bool:
    allowed = {entry.lower() for entry in settings.SOURCE_HOSTS}
    return bool(allowed & {name, f"{name}:{port}", f"[{name}]:{port}"})


def _not_named(name: str, port: int) -> NotAllowedPlaceError:
    return NotAllowedPlaceError(
        f"KEYVAULT_SOURCE_HOSTS does not name {name} (port {port}), and no other host is ever contacted. Correct the "
        "host, or let whoever runs the worker add it there.",
        field="host",
    )


def _addresses(host: str, port: int) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotAllowedPlaceError(f"The name {host} cannot be looked up.") from error
    texts = dict.fromkeys(str(one[4][0]).partition("%")[0] for one in found)
    return [ipaddress.ip_address(text) for text in texts]


def _check_address(host: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    address = getattr(address, "ipv4_mapped", None) or address
    is_reserved = address.is_reserved and not address.is_loopback  # ::1 is both
    if address.is_multicast or address.is_unspecified or address.is_link_local or is_reserved:
        raise NotAllowedPlaceError(f"{host} leads to {address}, which is no address of a database.")


def _is_loopback_name(host: str) -> bool:
    """Whether it says of itself that it is this machine: another name that leads here has to show a certificate."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tls_of(source: RewrapSource, place: Place) -> dict[str, str]:
    """Return how the connection is protected: the certificate is of that name and of that CA, or it is no connection.

    Loopback without a CA file is the one exception: the embedded PostgreSQL has no certificate.
    Raises: SecretFileError.
    """
    if place.is_loopback and not source.ca_file:
        return {"sslmode": "disable", "gssencmode": "disable"}
    if not source.ca_file:
        raise SecretFileError("Name the file of the CA: without it nobody knows who answers.")
    path = Path(source.ca_file)
    if not path.is_absolute() or not path.is_file():
        raise SecretFileError("The file of the CA is not there, or its path does not begin with a slash.")
    return {
        "sslmode": "verify-full",
        "sslrootcert": str(path),
        "ssl_min_protocol_version": "TLSv1.2",
        "sslcertmode": "disable",
        "gssencmode": "disable",  # it would come before TLS, and verify nothing
        "channel_binding": "require",
    }


def password_of(source: RewrapSource) -> str:
    """Return the password that lies in the source's file, of the folder that the settings name.

    Raises: SecretFileError, which repeats nothing of it.
    """
    folder, path = Path(settings.SOURCE_SECRETS).resolve(), Path(source.password_file)
    if not path.is_absolute() or not path.resolve().is_relative_to(folder):
        raise SecretFileError(f"The file of the password must lie in {folder} (KEYVAULT_SOURCE_SECRETS).")
    try:
        facts = path.stat()
        if not S_ISREG(facts.st_mode) or facts.st_mode & OTHERS:
            raise SecretFileError(f"The file {path} of the password must be a file that others cannot read: chmod 600.")
        with path.open(encoding="utf-8") as file:
            said = file.read(LONGEST_SECRET + 1)
    except (OSError, ValueError) as error:
        raise SecretFileError(f"The file {path} of the password cannot be read by the worker.") from error
    password = said.strip()
    if not password or len(said) > LONGEST_SECRET or "\0" in password:
        raise SecretFileError(f"The file {path} holds no password.")
    return password
