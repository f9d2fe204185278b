"""What a sensitive door declares: that it opens to a second factor of the last minutes only.

A door declares, `keyvault_admin.access.middleware` enforces. The declaration refuses by itself too, so that a door
which is wrapped beyond recognition, or reached without the middleware, stays shut.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase

P = ParamSpec("P")
R = TypeVar("R")


class StepUpNeededError(PermissionDenied):
    """The second factor of this session was not checked lately enough for this door."""


def requires_step_up(view: Callable[P, R]) -> Callable[P, R]:
    """Make a view, a method or an admin action ask for a fresh second factor.

    Put it outermost. Raises, when called without one: StepUpNeededError.
    """

    @wraps(view)
    def checked(*arguments: P.args, **named: P.kwargs) -> R:
        refuse_if_stale(next((given for given in arguments if isinstance(given, HttpRequest)), None))
        return view(*arguments, **named)

    checked.requires_step_up = True  # type: ignore[attr-defined]
    return checked


class StepUpMixin:
    """The same for a class-based view; stands before it in the list of bases."""

    requires_step_up = True

    def dispatch(self, request: HttpRequest, *arguments: Any, **named: Any) -> HttpResponseBase:  # noqa: ANN401
        refuse_if_stale(request)
        return super().dispatch(request, *arguments, **named)  # type: ignore[misc,no-any-return]


def refuse_if_stale(request: HttpRequest | None) -> None:
    """Let a request pass only where the middleware found a fresh second factor.

    Raises: StepUpNeededError.
    """
    if getattr(request, "has_stepped_up", False) is not True:
        raise StepUpNeededError


def declares_step_up(view: Any) -> bool:  # noqa: ANN401 - whatever can stand in a URL pattern or a list of actions
    """Whether a view asks for it: a function, a method, a class-based view, or one of them wrapped or bound."""
    while view is not None:
        if getattr(view, "requires_step_up", False) or getattr(
            getattr(view, "view_class", None), "requires_step_up", False
        ):
            return True
        view = getattr(view, "func", None) or getattr(view, "__wrapped__", None)
    return False
