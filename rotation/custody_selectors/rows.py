"""Rows as the pages read them: with what they stand beside, and without what the web login may not read."""

from django.db.models import QuerySet

from rotation.models import Order, RewrapJob, RewrapSource

_UNREAD = ("canary",)  # of a KEK version


def unread(*relations: str) -> list[str]:
    """Name the columns of related KEK versions that the web login may not read."""
    return [f"{relation}__{column}" for relation in relations for column in _UNREAD]


def order_of(pk: int) -> Order | None:
    """Return an order with what its page shows. Queries: 1."""
    return orders().filter(pk=pk).first()


def orders() -> QuerySet[Order]:
    return (
        Order.objects.select_related("key", "request", "kek_version__version")
        .defer("request__payload", *unread("kek_version"))
        .order_by("-created_at", "-pk")
    )


def jobs() -> QuerySet[RewrapJob]:
    return (
        RewrapJob.objects.select_related("kek__key", "target__version", "source", "certificate")
        .defer("certificate__body", "certificate__note", *unread("target"))
        .order_by("-opened_at", "-pk")
    )


def job_of(pk: int) -> RewrapJob | None:
    """Return a job with what its page shows. Queries: 1."""
    return jobs().filter(pk=pk).first()


def sources() -> QuerySet[RewrapSource]:
    """Return all sources as the list shows them. No query by itself."""
    return RewrapSource.objects.select_related("kek__key")
