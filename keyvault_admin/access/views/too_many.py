"""The answer to one try too many."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


def too_many_tries(request: HttpRequest, *_from_axes: object) -> HttpResponse:
    """Answer 429 in the same words at every door and for every name, with the longest time it may take."""
    seconds = int(settings.AXES_COOLOFF_TIME.total_seconds())
    answer = render(request, "429.html", {"minutes": seconds // 60}, status=429)
    answer["Retry-After"] = str(seconds)
    return answer
