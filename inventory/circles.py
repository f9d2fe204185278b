"""What stands above itself in a graph of things that stand above each other. Pure."""

from collections.abc import Collection, Hashable, Iterator, Mapping
from typing import Generic, TypeVar

Node = TypeVar("Node", bound=Hashable)


def circles(above: Mapping[Node, Collection[Node]]) -> list[set[Node]]:
    """Return the groups of nodes of which each is above every other one, in time linear in nodes and steps.

    A node alone is a group only where it is above itself. Source: Tarjan, "Depth-first search and linear graph
    algorithms", SIAM Journal on Computing 1(2), 1972; without recursion, so that a long chain is no problem.
    """
    walk = _Walk(above)
    for node in above:
        walk.visit(node)
    return [group for group in walk.groups if len(group) > 1 or any(node in above.get(node, ()) for node in group)]


class _Walk(Generic[Node]):
    """Numbers nodes in the order of the visit; `low` is the smallest number that a node leads back to."""

    def __init__(self, above: Mapping[Node, Collection[Node]]) -> None:
        self.groups: list[set[Node]] = []
        self._above = above
        self._number: dict[Node, int] = {}
        self._low: dict[Node, int] = {}
        self._open: dict[Node, None] = {}  # visited, and in no group yet; in order

    def visit(self, first: Node) -> None:
        if first in self._number:
            return
        path = [(first, self._enter(first))]
        while path:
            node, steps = path[-1]
            ahead = next(steps, None)
            if ahead is None:
                path.pop()
                self._leave(node)
                if path:
                    self._reach(path[-1][0], self._low[node])
            elif ahead not in self._number:
                path.append((ahead, self._enter(ahead)))
            elif ahead in self._open:
                self._reach(node, self._number[ahead])

    def _enter(self, node: Node) -> Iterator[Node]:
        self._number[node] = self._low[node] = len(self._number)
        self._open[node] = None
        return iter(self._above.get(node, ()))

    def _reach(self, node: Node, number: int) -> None:
        self._low[node] = min(self._low[node], number)

    def _leave(self, node: Node) -> None:
        if self._low[node] != self._number[node]:
            return
        group = set()
        while node not in group:
            group.add(self._open.popitem()[0])
        self.groups.append(group)
