"""What a reviewer enters. Forms parse and check shapes; every rule is in the services."""

from collections.abc import Sequence
from typing import Any

from django import forms
from django.utils.safestring import SafeString

from rotation.models import Verdict
from rotation.models.reviews import LONGEST_WORDS

MOST_KEYS = 20  # of an event that speaks of more, the page of the event shows all


class ItemForm(forms.Form):
    """A verdict on one event. It knows what it showed, so that only what somebody changed is sent to the service."""

    use_required_attribute = False
    verdict = forms.ChoiceField(
        label="Verdict",
        choices=[(verdict.value, verdict.label) for verdict in (Verdict.IN_ORDER, Verdict.FINDING)],
        widget=forms.RadioSelect,
        required=False,
        show_hidden_initial=True,
    )
    words = forms.CharField(
        label="What is wrong, or has to be done",
        max_length=LONGEST_WORDS,
        widget=forms.Textarea(attrs={"rows": 2}),
        required=False,
        show_hidden_initial=True,
    )
    follow_up = forms.TypedChoiceField(
        label="Follow up on", coerce=int, empty_value=None, required=False, show_hidden_initial=True
    )
    seen = forms.IntegerField(min_value=0, widget=forms.HiddenInput)

    def __init__(self, *arguments: Any, keys: Sequence[tuple[int, str]], **named: Any) -> None:  # noqa: ANN401 - Django's own
        super().__init__(*arguments, **named)
        field: Any = self.fields["follow_up"]
        field.choices = [("", "no key in particular"), *keys]

    @property
    def verdict_shown(self) -> SafeString:
        """Return the field that says what was shown; a widget brings its own, radio buttons one by one do not."""
        return self["verdict"].as_hidden(only_initial=True)

    @property
    def is_judged(self) -> bool:
        """Whether somebody entered something here, whatever was there before."""
        return bool(set(self.changed_data) - {"seen"})

    def clean(self) -> dict[str, Any]:
        said: dict[str, Any] = super().clean() or {}
        verdict = said.get("verdict")
        if verdict == Verdict.IN_ORDER:
            return {**said, "words": "", "follow_up": None}
        if self.is_judged and not verdict and "verdict" not in self.errors:
            self.add_error("verdict", "Say whether it is in order or a finding.")
        elif verdict == Verdict.FINDING and not said.get("words") and "words" not in self.errors:
            self.add_error("words", "Say in words what is wrong: a finding without them helps nobody.")
        return said
