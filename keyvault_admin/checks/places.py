"""Where a server is that we talk to: whether what is said to it leaves this machine."""

import ipaddress
from enum import Enum

from django.conf import settings


class Place(Enum):
    """How far away; the value is said of what would be wrong elsewhere."""

    LOOPBACK = "it is on this machine (loopback)"
    INSIDE = "KEYVAULT_INSIDE_HOSTS says that the way to it does not leave this machine"
    ELSEWHERE = "it is on another machine"


def is_loopback(host: str) -> bool:
    """Whether the host is this machine by its name or address; nothing, or a path, is a socket in the file system."""
    host = host.strip("[]").lower()
    if not host or host == "localhost" or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def place_of(*hosts: str) -> Place:
    """Return the place of the farthest of the hosts, each of which may be several with commas between them."""
    named = [host for hosts_given in hosts for host in hosts_given.split(",")]
    if all(is_loopback(host) for host in named):
        return Place.LOOPBACK
    inside = {host.lower() for host in settings.INSIDE_HOSTS}
    if all(is_loopback(host) or host.lower() in inside for host in named):
        return Place.INSIDE
    return Place.ELSEWHERE


def is_reachable_from_outside(address: str) -> bool:
    """Whether a numeric address belongs to the public network."""
    return ipaddress.ip_address(address.partition("%")[0]).is_global
