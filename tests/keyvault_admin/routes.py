"""Every address of the resolver, with the records of a test where an address wants one."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from django.apps import apps
from django.urls import URLPattern, URLResolver, get_resolver
from django.urls.resolvers import RegexPattern, RoutePattern

PARAMETER = re.compile(r"<(?:(\w+):)?(\w+)>")
BY_CONVERTER = {"int": "1", "path": "1", "str": "1", "slug": "x", "uuid": "6f1c9f0e-7f9b-4c58-9f5e-0a9f6f0a2b11"}
BY_REGEX = {"app_label": "inventory", "url": "nowhere/at-all/"}


@dataclass(frozen=True)
class Route:
    """One pattern of the resolver: its name, with the namespace, and an address that it answers."""

    name: str
    address: str


def every_route() -> list[Route]:
    return list(_walk(get_resolver().url_patterns, "/", ""))


def _walk(patterns: list[URLPattern | URLResolver], before: str, space: str) -> Iterator[Route]:
    for pattern in patterns:
        address = before + _filled(pattern.pattern, before)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, address, f"{pattern.namespace}:" if pattern.namespace else space)
        else:
            yield Route(space + (pattern.name or pattern.lookup_str), address)


def _filled(pattern: RoutePattern | RegexPattern, before: str) -> str:
    if isinstance(pattern, RoutePattern):
        return PARAMETER.sub(lambda found: _value(found[1] or "str", before), str(pattern))
    plain = str(pattern).strip("^$").removesuffix("\\Z")
    return re.sub(r"\(\?P<(\w+)>[^)]*\)", lambda found: BY_REGEX[found[1]], plain)


def _value(converter: str, before: str) -> str:
    """Return the first record of the model whose pages these are, or a value that fits."""
    try:
        model = apps.get_model(".".join(before.strip("/").split("/")[:2]))
    except (LookupError, ValueError):
        return BY_CONVERTER[converter]
    first = model._default_manager.order_by("pk").values_list("pk", flat=True).first()
    return BY_CONVERTER[converter] if first is None else str(first)
