"""What somebody enters who votes: a decision, a comment and a second factor for exactly that."""

import re
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.views.decorators.debug import sensitive_variables

from rotation.models import Vote

APPROVE, REJECT = "approve", "reject"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_BALLOT = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")
_ANSWER_CHARACTERS = 16_000
_CODE = {"inputmode": "numeric", "autocomplete": "one-time-code", "pattern": "[0-9]{6}", "maxlength": "6"}


class _Unreturned(forms.PasswordInput):
    """Readable while it is typed, and never sent back."""

    input_type = "text"


class _UnreturnedHidden(forms.PasswordInput):
    """Filled in by a script, and never sent back either."""

    input_type = "hidden"


class DecisionForm(forms.Form):
    """A vote. The second factor is no session's: it is shown for this vote and spent with it."""

    use_required_attribute = False
    comment = forms.CharField(
        label="Comment",
        required=False,
        max_length=Vote._meta.get_field("comment").max_length,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Kept with your vote. Needed to reject: whoever asked has to know why.",
    )
    code = forms.CharField(
        label="One-time code",
        required=False,
        strip=False,
        max_length=64,
        widget=_Unreturned(attrs=_CODE),
        help_text="The next one of your authenticator app. It counts for this decision alone.",
    )
    answer = forms.CharField(required=False, strip=False, max_length=_ANSWER_CHARACTERS, widget=_UnreturnedHidden)
    decision = forms.ChoiceField(
        choices=[(APPROVE, "Approve"), (REJECT, "Reject")],
        widget=forms.HiddenInput,
        error_messages={"required": "Press Approve or Reject."},
    )

    @sensitive_variables()
    def clean(self) -> dict[str, Any]:
        said = self.cleaned_data
        if not said.get("code") and not said.get("answer") and "code" not in self.errors:
            self.add_error("code", "Type the code of your authenticator app, or use a passkey.")
        if said.get("decision") == REJECT and not said.get("comment") and "comment" not in self.errors:
            self.add_error("comment", "Say why you reject it: whoever asked has to know what to do otherwise.")
        return said

    @property
    def approves(self) -> bool:
        return bool(self.cleaned_data["decision"] == APPROVE)


class VoteForm(DecisionForm):
    """A vote on one request; it names what was shown."""

    digest = forms.CharField(widget=forms.HiddenInput, max_length=64)

    def clean_digest(self) -> bytes:
        return digest_of(self.cleaned_data["digest"])


class TogetherForm(DecisionForm):
    """One vote on each request of a list, under one code; it names what was shown of each."""

    ballots = forms.CharField(widget=forms.HiddenInput, max_length=100 * 84)

    def clean_ballots(self) -> list[tuple[int, bytes]]:
        """Return number and digest of each request, in the order of the list."""
        found = [_BALLOT.fullmatch(each) for each in self.cleaned_data["ballots"].split(",")]
        if not all(found):
            raise ValidationError("The list is not as this page made it. Choose the requests once more.")
        return [(int(each[1]), bytes.fromhex(each[2])) for each in found if each]


def digest_of(text: str) -> bytes:
    """Return the bytes of a digest in hexadecimal digits.

    Raises: ValidationError.
    """
    if not _DIGEST.fullmatch(text):
        raise ValidationError("The page did not say what you were shown. Open it once more and read it again.")
    return bytes.fromhex(text)


class WhyForm(forms.Form):
    """Taking back, or trying again, and why."""

    use_required_attribute = False
    reason = forms.CharField(
        label="Why", max_length=500, help_text="Kept in the audit log.", widget=forms.Textarea(attrs={"rows": 2})
    )
