"""What people enter to change the rules: a clause, or the threat level."""

from collections.abc import Mapping
from typing import Any

from django import forms

from inventory.clause_wording import LABELS
from inventory.forms import GroupedForm
from inventory.models import PolicyClause, Threat, ThreatLevel
from inventory.models.clause import COVERED_ACCESS
from inventory.services.clauses import CLAUSE_FACTS, LEVEL_FACTS
from inventory.terms import Classification, Environment, KeyKind, StorageMedium

LONGEST_LINE = 80


def _several(name: str, choices: Any, help_text: str = "") -> forms.MultipleChoiceField:  # noqa: ANN401 - choices of any form
    return forms.MultipleChoiceField(
        label=LABELS[name], choices=choices, required=False, widget=forms.CheckboxSelectMultiple, help_text=help_text
    )


def _yes(name: str, help_text: str) -> forms.BooleanField:
    return forms.BooleanField(label=LABELS[name], required=False, help_text=help_text)


class WhyForm(GroupedForm, forms.Form):
    """Why, and which revision of the record the person was looking at."""

    revision = forms.IntegerField(widget=forms.HiddenInput, required=False)
    reason = forms.CharField(
        label="Why", max_length=500, help_text="Kept in the audit log.", widget=forms.Textarea(attrs={"rows": 2})
    )

    @property
    def facts(self) -> Mapping[str, Any]:
        """Return what was entered, as the service takes it."""
        return {}


class ClauseForm(WhyForm):
    """Everything that a clause says, of which keys, and what it demands."""

    GROUPS = (
        ("Where it stands", ("code", "source", "document", "section", "requirement", "text")),
        ("Of which keys it speaks", ("kinds", "environments", "classifications", "access")),
        ("When they are rotated", ("longest_age_days", "on_events")),
        (
            "What else it demands",
            (
                "smallest_strength_bits", "forbidden_media", "allowed_media", "not_exportable", "runbook_required",
                "separate_per_environment", "separate_from_production",
            ),
        ),
        ("Your reason", ("reason",)),
    )  # fmt: skip

    code = forms.SlugField(
        label=LABELS["code"], max_length=40, help_text="Names the clause in the log, as “s4-production-90”. Used once."
    )
    source = forms.CharField(label=LABELS["source"], max_length=80, help_text="As the lists show it: “S4”.")
    document = forms.CharField(label=LABELS["document"], max_length=200)
    section = forms.CharField(label=LABELS["section"], max_length=80)
    requirement = forms.CharField(label=LABELS["requirement"], max_length=20, required=False, help_text="As “R210”.")
    text = forms.CharField(label=LABELS["text"], max_length=2000, widget=forms.Textarea(attrs={"rows": 3}))
    kinds = _several("kinds", KeyKind.choices, "None chosen: every kind. Likewise below.")
    environments = _several("environments", Environment.choices)
    classifications = _several("classifications", Classification.choices)
    access = _several("access", COVERED_ACCESS, "A key of production counts as one that opens production data.")
    longest_age_days = forms.IntegerField(
        label=LABELS["longest_age_days"], min_value=1, max_value=3650, required=False,
        help_text="Counted from the last rotation, else from creation.",
    )  # fmt: skip
    on_events = forms.CharField(
        label=LABELS["on_events"], required=False, widget=forms.Textarea(attrs={"rows": 3}),
        help_text="One event a line, as “somebody with access leaves”.",
    )  # fmt: skip
    smallest_strength_bits = forms.IntegerField(
        label=LABELS["smallest_strength_bits"], min_value=1, max_value=512, required=False,
        help_text="RSA-2048 has 112, RSA-3072 and P-256 have 128, RSA-4096 has 150, AES-256 has 256.",
    )  # fmt: skip
    forbidden_media = _several("forbidden_media", StorageMedium.choices)
    allowed_media = _several(
        "allowed_media", StorageMedium.choices, "Demands nothing; where another clause forbids the place, that wins."
    )
    not_exportable = _yes("not_exportable", "The key never leaves the place where it is kept.")
    runbook_required = _yes("runbook_required", "How it is renewed and revoked is written down and linked.")
    separate_per_environment = _yes("separate_per_environment", "The same material in two environments is a breach.")
    separate_from_production = _yes("separate_from_production", "The same material as a production key is a breach.")

    @classmethod
    def facts_to_show(cls, clause: PolicyClause) -> dict[str, Any]:
        """Return a clause as the form's initial values."""
        shown = {name: getattr(clause, name) for name in ("code", "revision", *CLAUSE_FACTS)}
        return shown | {"on_events": "\n".join(clause.on_events)}

    def clean_on_events(self) -> list[str]:
        events = [line.strip() for line in self.cleaned_data["on_events"].splitlines() if line.strip()]
        if any(len(event) > LONGEST_LINE for event in events):
            raise forms.ValidationError(f"An event has at most {LONGEST_LINE} characters.")
        return events

    def clean_text(self) -> str:
        return str(self.cleaned_data["text"]).replace("\r\n", "\n")

    @property
    def facts(self) -> Mapping[str, Any]:
        return {name: self.cleaned_data[name] for name in CLAUSE_FACTS}


class EditClauseForm(ClauseForm):
    """A clause that is there already: its short name stays."""

    code = None  # type: ignore[assignment]  # Django's way of taking an inherited field away


class ThreatForm(WhyForm):
    """How threatened the organisation is, and how much of the longest ages that leaves."""

    GROUPS = (("Level", LEVEL_FACTS), ("Your reason", ("reason",)))

    level = forms.ChoiceField(label=LABELS["level"], choices=Threat.choices, widget=forms.RadioSelect)
    elevated_percent = forms.IntegerField(
        label=LABELS["elevated_percent"], min_value=1, max_value=100, help_text="75: 90 days become 67."
    )
    high_percent = forms.IntegerField(
        label=LABELS["high_percent"], min_value=1, max_value=100, help_text="50: 90 days become 45."
    )

    @classmethod
    def facts_to_show(cls, threat: ThreatLevel) -> dict[str, Any]:
        return {name: getattr(threat, name) for name in ("revision", *LEVEL_FACTS)}

    @property
    def facts(self) -> Mapping[str, Any]:
        return {name: self.cleaned_data[name] for name in LEVEL_FACTS}
