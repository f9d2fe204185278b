"""What somebody enters who asks for a guarded operation on a key. Forms parse; every rule is in the operations."""

from datetime import datetime
from typing import Any

from django import forms
from django.utils import timezone

from audit.canonical import JSON, timestamp
from inventory.forms import GroupedForm
from inventory.models import Key
from inventory.states import RevocationReason, State

LONGEST_REASON = 500
SEEN_CHARACTERS = 64
_BEGUN = (State.PRE_ACTIVATION, State.ACTIVE, State.SUSPENDED)


class AskForm(GroupedForm, forms.Form):
    """A question about one key, and why it is asked. `seen` says which preview the person was looking at."""

    use_required_attribute = False
    reason = forms.CharField(
        label="Why",
        max_length=LONGEST_REASON,
        help_text="What those who vote have to know. Kept in the audit log.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )
    seen = forms.CharField(required=False, max_length=SEEN_CHARACTERS, widget=forms.HiddenInput)

    def __init__(self, *arguments: Any, key: Key, **named: Any) -> None:  # noqa: ANN401 - Django's own signature
        self.key = key
        super().__init__(*arguments, **named)
        self.order_fields([name for name in self.fields if name not in {"reason", "seen"}])

    @property
    def parameters(self) -> dict[str, JSON]:
        """Return what the operation is asked for, after is_valid()."""
        return {"key": self.key.pk}


class RevokeForm(AskForm):
    reason_code = forms.ChoiceField(
        label="Reason for revoking",
        choices=[("", "Choose one"), *RevocationReason.choices],
        help_text="Key compromise and CA compromise make the key compromised; any other reason deactivates it.",
    )

    @property
    def parameters(self) -> dict[str, JSON]:
        return {**super().parameters, "reason_code": self.cleaned_data["reason_code"]}


class DestroyForm(AskForm):
    destroyed_on = forms.DateField(
        label="Destroyed on",
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text="The day on which the material was destroyed where it is kept, today at the latest (UTC).",
    )
    method = forms.CharField(
        label="How",
        max_length=300,
        help_text="Such as: purged from the vault, medium shredded, token deleted by its issuer.",
    )
    evidence = forms.CharField(
        label="Witness or evidence",
        max_length=1_000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Who saw it, or what shows it to others. Never the key itself.",
    )

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - Django's own signature
        super().__init__(*arguments, **named)
        self.fields["destroyed_on"].initial = timezone.now().date()

    @property
    def parameters(self) -> dict[str, JSON]:
        said = self.cleaned_data
        words: dict[str, JSON] = {name: said[name] for name in ("method", "evidence")}
        return {**super().parameters, "destroyed_on": said["destroyed_on"].isoformat(), **words}


def _instant(label: str, help_text: str) -> forms.DateTimeField:
    widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
    return forms.DateTimeField(label=label, help_text=f"{help_text} (UTC)", required=False, widget=widget)


class DatesForm(AskForm):
    """The dates that still can be changed; what nobody touched is not asked for."""

    activates_at = _instant("Comes into use", "By itself, at this time.")
    protect_until = _instant("Protects until", "From then on it is deactivated, by itself.")
    process_until = _instant("Opens what it protected until", "How long old data may still be read with it.")

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - Django's own signature
        super().__init__(*arguments, **named)
        if self.key.state != State.PRE_ACTIVATION:
            del self.fields["activates_at"]
        if self.key.state not in _BEGUN:
            del self.fields["protect_until"]
        for name in self._dates:
            self.fields[name].initial = _to_the_minute(getattr(self.key, name))

    @property
    def _dates(self) -> list[str]:
        return [name for name in self.fields if name not in {"reason", "seen"}]

    @property
    def parameters(self) -> dict[str, JSON]:
        said = {name: self.cleaned_data[name] for name in self._dates}
        changed: dict[str, JSON] = {
            name: timestamp(at) if at else None for name, at in said.items() if at != self.fields[name].initial
        }
        return {**super().parameters, "dates": changed}

    def clean(self) -> dict[str, Any]:
        said: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors and not self.parameters["dates"]:
            self.add_error(None, f"These are the dates that {self.key.name} has already.")
        return said


def _to_the_minute(at: datetime | None) -> datetime | None:
    """Return what the control of a page can hold."""
    return at.replace(second=0, microsecond=0) if at else None
