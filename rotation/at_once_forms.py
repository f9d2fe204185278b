"""What somebody enters who acts alone. Forms parse and check shapes; every rule is in rotation.at_once."""

from typing import Any

from django import forms

from audit.canonical import JSON
from inventory.forms import GroupedForm, ReasonForm, RotationForm
from inventory.models import Key
from inventory.states import RevocationReason
from rotation.approval_forms import DecisionForm
from rotation.at_once import LEAST_REASON
from rotation.models.duties import LONGEST_REASON


class ReportForm(ReasonForm):
    """That others may know a key, and how somebody knows that."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - Django's own
        super().__init__(*arguments, **named)
        reason = self.fields["reason"]
        reason.label = "What you know"
        reason.help_text = "Where it was seen, since when, and by whom it could have been. Others decide by it. Never "
        reason.help_text += "the key itself. Kept in the audit log."


class GlassForm(GroupedForm, forms.Form):
    """Why somebody breaks the glass, and the second factor that they show for exactly that."""

    use_required_attribute = False

    reason = forms.CharField(
        label="Why it cannot wait for votes",
        min_length=LEAST_REASON,
        max_length=LONGEST_REASON,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Everybody gets it by mail, and it is kept in the audit log.",
    )
    code = DecisionForm.base_fields["code"]
    answer = DecisionForm.base_fields["answer"]
    shown = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)

    def entered(self, key: Key) -> dict[str, JSON]:
        """Return what at_once.break_glass() wants of it."""
        raise NotImplementedError


class GlassRevokeForm(GlassForm):
    GROUPS = (("", ("reason_code", "reason")),)

    reason_code = forms.ChoiceField(
        label="Reason for revoking",
        choices=RevocationReason.choices,
        initial=RevocationReason.KEY_COMPROMISE,
        help_text="Only a compromise makes the key compromised; for any other reason it is deactivated.",
    )

    def entered(self, key: Key) -> dict[str, JSON]:
        code = self.cleaned_data["reason_code"] if self.is_bound else RevocationReason.KEY_COMPROMISE.value
        return {"key": key.pk, "reason_code": str(code)}


class GlassRotationForm(GlassForm):
    GROUPS = (("", ("rotated_on", "evidence", "url", "reason")),)

    rotated_on = RotationForm.base_fields["rotated_on"]
    evidence = RotationForm.base_fields["evidence"]
    url = RotationForm.base_fields["url"]

    def entered(self, key: Key) -> dict[str, JSON]:
        said = self.cleaned_data
        return {
            "key": key.pk,
            "rotated_on": said["rotated_on"].isoformat(),
            "evidence": said["evidence"],
            "url": said["url"],
        }


class GlassKekForm(GlassForm):
    GROUPS = (("", ("reason",)),)

    def entered(self, key: Key) -> dict[str, JSON]:
        return {"key": key.pk}
