"""Links that people enter: to a runbook, to the evidence of a rotation. A browser follows them with one click."""

from django.core.validators import URLValidator
from django.db.models import CheckConstraint, Q

# Django's own list has ftp too; javascript: and data: would run in the page that shows the link.
web_link = URLValidator(schemes=["https", "http"], message="Enter a link that begins with https:// or http://.")


def only_web_links(column: str, *, name: str) -> CheckConstraint:
    """Return the constraint by which the database holds nothing but links of the web, whoever writes."""
    return CheckConstraint(
        condition=Q(**{column: ""}) | Q(**{f"{column}__iregex": r"^https?://"}),
        name=name,
        violation_error_message="A link begins with https:// or http://.",
    )
