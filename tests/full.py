"""`make test-full`: every property test with ten times its examples. A pytest plugin, for nights."""

import pytest
from hypothesis import settings

FACTOR = 10
_OWN = "_hypothesis_internal_use_settings"  # where Hypothesis keeps what @settings said; it has no public name


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    seen: set[int] = set()
    expected = False
    for item in items:
        function = getattr(item, "obj", None)
        function = getattr(function, "__func__", function)
        said = getattr(function, _OWN, None)
        expected = expected or getattr(function, "is_hypothesis_test", False)
        if said is not None and id(function) not in seen:
            seen.add(id(function))  # a parametrised test stands here more than once
            setattr(function, _OWN, settings(said, max_examples=said.max_examples * FACTOR))
    if expected and not seen:
        raise pytest.UsageError("No property test was found: has Hypothesis renamed its attribute?")
