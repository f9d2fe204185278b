"""What people enter to ask for an exception, or to end one."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django import forms

from inventory.forms import GroupedForm
from inventory.models import PolicyClause
from inventory.models.exception import LONGEST_SAYING
from inventory.policy import Limit


class ExceptionForm(GroupedForm, forms.Form):
    """From which clause, what is done instead, what risk remains, and until when."""

    GROUPS = (
        ("From which clause", ("clause",)),
        ("Until when", ("until",)),
        ("Why it can be accepted", ("compensating_control", "residual_risk", "reason")),
    )

    clause = forms.ChoiceField(label="Clause", widget=forms.RadioSelect)
    until = forms.DateField(label="Until", widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"))
    compensating_control = forms.CharField(
        label="What is done instead",
        max_length=LONGEST_SAYING,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="The control that makes up for it, and how somebody can see that it works. Never a secret.",
    )
    residual_risk = forms.CharField(
        label="Risk that remains",
        max_length=LONGEST_SAYING,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="What could still happen, and what that would cost. Management accepts this risk.",
    )
    reason = forms.CharField(
        label="Why", max_length=500, help_text="Why the clause cannot be met in time. Kept in the audit log.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )  # fmt: skip

    def __init__(
        self,
        entered: Any,  # noqa: ANN401 - Django's
        *,
        clauses: Sequence[tuple[PolicyClause, str]],
        limit: Limit,
        today: date,
        **how: Any,  # noqa: ANN401 - Django's
    ) -> None:
        """Offer the clauses that bind the key, each with what it says of it today."""
        super().__init__(entered, **how)
        self.clauses = {str(clause.pk): clause for clause, _ in clauses}
        self.fields["clause"].choices = [(str(clause.pk), words) for clause, words in clauses]  # type: ignore[attr-defined]
        latest = today + timedelta(days=limit.longest_days)
        until = self.fields["until"]
        until.widget.attrs |= {"min": f"{today + timedelta(days=1):%Y-%m-%d}", "max": f"{latest:%Y-%m-%d}"}
        until.help_text = (
            f"From that day on, 00:00 UTC, the key counts by the clause again. At most {limit.longest_days} days, "
            f"{latest:%-d %B %Y}: {limit.label}."
        )

    @property
    def clause_chosen(self) -> PolicyClause:
        return self.clauses[self.cleaned_data["clause"]]

    @property
    def until_moment(self) -> datetime:
        return datetime.combine(self.cleaned_data["until"], time(), tzinfo=UTC)
