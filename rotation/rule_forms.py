"""What somebody enters who asks for another rule. Forms parse; every rule is in the operations."""

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms

from rotation.models import AlertRoute

HIGHEST = 99  # of a number in a form; the operation says what it may be
LONGEST_REASON = 500


class WhyForm(forms.Form):
    """Why it should be done."""

    use_required_attribute = False
    reason = forms.CharField(
        label="Why",
        max_length=LONGEST_REASON,
        help_text="People read it before they vote, and the audit log keeps it.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )


class RuleForm(WhyForm):
    """How many votes of each role, and for how long a request waits for them."""

    def __init__(
        self,
        *arguments: Any,  # noqa: ANN401 - a form's own
        roles: Sequence[str],
        floor: Mapping[str, int],
        votes: Mapping[str, int],
        hours: int,
        most_hours: int,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(*arguments, **options)
        self.roles, self.most_hours = roles, most_hours
        for role in roles:
            least = floor.get(role, 0)
            self.fields[f"votes_{role}"] = forms.IntegerField(
                label=f"Votes of {role}",
                min_value=0,
                max_value=HIGHEST,
                initial=votes.get(role, 0),
                help_text=f"At least {least}." if least else "",
                widget=forms.NumberInput(attrs={"min": least, "inputmode": "numeric"}),
            )
        self.fields["hours"] = forms.IntegerField(
            label="Hours that a request waits",
            min_value=0,
            max_value=10_000,
            initial=hours,
            help_text=f"At most {most_hours}.",
            widget=forms.NumberInput(attrs={"min": 1, "max": most_hours, "inputmode": "numeric"}),
        )
        self.order_fields([*(f"votes_{role}" for role in roles), "hours", "reason"])

    @property
    def votes(self) -> dict[str, int]:
        """Return what was entered; a role with no vote is not named."""
        entered = {role: self.cleaned_data[f"votes_{role}"] for role in self.roles}
        return {role: count for role, count in entered.items() if count}

    @property
    def lifetime_hours(self) -> int | None:
        """Return the hours; None for as long as the release has it."""
        hours: int = self.cleaned_data["hours"]
        return None if hours == self.most_hours else hours


class RouteForm(WhyForm):
    """Who is told of an alert."""

    roles = forms.MultipleChoiceField(label="Everybody of", required=False, widget=forms.CheckboxSelectMultiple)
    addresses = forms.CharField(
        label="Addresses besides",
        required=False,
        max_length=3_000,
        help_text="One on a line. What the mail says leaves this installation for whoever reads there.",
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
    )
    field_order = ("roles", "addresses", "reason")

    def __init__(
        self,
        *arguments: Any,  # noqa: ANN401 - a form's own
        told: Sequence[str],
        tells_everybody: bool,
        route: AlertRoute,
        **options: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(*arguments, **options)
        self.fields["roles"].choices = [(role, role) for role in told]  # type: ignore[attr-defined]
        self.fields["roles"].initial = route.roles
        self.fields["addresses"].initial = "\n".join(route.addresses)
        if tells_everybody:
            del self.fields["roles"]

    @property
    def entered(self) -> list[str]:
        """Return the addresses in small letters, each once, in their order."""
        return list(dict.fromkeys(line.strip().lower() for line in self.cleaned_data["addresses"].split() if line))


class RetentionForm(WhyForm):
    """For how many days the log is kept."""

    days = forms.IntegerField(
        label="Days",
        min_value=0,
        max_value=1_000_000,
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
    )
    field_order = ("days", "reason")
