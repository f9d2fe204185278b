"""Every address that the resolver answers, and a path for each: the list that tests of doors walk."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

PARAMETER = re.compile(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>[^)]*\)")


@dataclass(frozen=True)
class Route:
    """One line of the resolver. `name` is its namespaced name, or its pattern where it has none."""

    name: str
    pattern: str
    view: Callable[..., Any]

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(first or second for first, second in PARAMETER.findall(self.pattern))

    @property
    def model(self) -> str:
        """The model of an admin page, as "inventory.key"; "" for every other page."""
        found = re.match(r"(\w+)/(\w+)/", self.pattern)
        return f"{found[1]}.{found[2]}" if found else ""

    def path(self, arguments: Mapping[str, object]) -> str:
        """Return the path with these arguments in it."""
        bare = self.pattern.removeprefix("^").removesuffix("$")
        return "/" + PARAMETER.sub(lambda found: str(arguments[found[1] or found[2]]), bare)


def routes() -> list[Route]:
    """Return every route once, in the order of the resolver; of two with one pattern the first answers."""
    found: dict[str, Route] = {}
    for route in _walk(get_resolver(), "", ""):
        found.setdefault(route.pattern, route)
    return list(found.values())


def _walk(resolver: URLResolver, prefix: str, namespace: str) -> Iterator[Route]:
    for entry in resolver.url_patterns:
        pattern = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _walk(entry, pattern, namespace + (f"{entry.namespace}:" if entry.namespace else ""))
        elif isinstance(entry, URLPattern):
            yield Route(f"{namespace}{entry.name}" if entry.name else pattern, pattern, entry.callback)
