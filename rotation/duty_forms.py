"""What somebody enters who has looked at what another did alone."""

from collections.abc import Sequence
from typing import Any

from django import forms

from inventory.forms import GroupedForm
from rotation.models import Verdict
from rotation.models.duties import LONGEST_WORDS


class SignatureForm(GroupedForm, forms.Form):
    """What they found, and for which of their roles they sign."""

    verdict = forms.ChoiceField(
        label="What you found",
        choices=[(Verdict.IN_ORDER.value, "in order"), (Verdict.FINDING.value, "a finding")],
        widget=forms.RadioSelect,
    )
    words = forms.CharField(
        label="In words",
        max_length=LONGEST_WORDS,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="What you looked at, and why it was right or what was not. Kept in the audit log.",
    )
    role = forms.ChoiceField(label="You sign for", widget=forms.RadioSelect)

    def __init__(self, *arguments: Any, roles: Sequence[str], **named: Any) -> None:  # noqa: ANN401 - Django's own
        super().__init__(*arguments, **named)
        if len(roles) == 1:
            self.fields["role"] = forms.CharField(widget=forms.HiddenInput, initial=roles[0])
        else:
            field: Any = self.fields["role"]
            field.choices = [(role, role) for role in roles]
