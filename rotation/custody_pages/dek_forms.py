"""What somebody enters about a DEK. Forms parse; every rule is in the services."""

from typing import Any

from django import forms
from django.db.models import Model

from audit.canonical import JSON
from inventory.forms import GroupedForm, ReasonForm
from inventory.models import Integration, Kek, Owner, Tenant
from inventory.terms import Environment

LONGEST_EVIDENCE = 1_000
LONGEST_NAME = 200


class NameField(forms.CharField):
    """The exact name of a record; cleans to the record. A list to choose from would hold every tenant there is."""

    def __init__(self, model: type[Model], *, label: str, help_text: str) -> None:
        self.model = model
        super().__init__(label=label, help_text=help_text, required=False, max_length=LONGEST_NAME)

    def clean(self, value: object) -> Any:  # noqa: ANN401 - the record, or nothing
        name = super().clean(value).strip()
        if not name:
            return None
        found = self.model._default_manager.filter(name=name).first()
        if found is None:
            raise forms.ValidationError(f"There is no {self.model._meta.verbose_name} of exactly this name.")
        return found


class NewDekForm(GroupedForm, forms.Form):
    """For whom a DEK is made, and under which KEK."""

    GROUPS = (
        ("What it is for", ("tenant", "integration", "secret_name")),
        ("Under which KEK", ("kek", "environment", "owner")),
        ("Your reason", ("reason",)),
    )
    tenant = NameField(Tenant, label="Tenant", help_text="Its exact name; with an integration.")
    integration = NameField(Integration, label="Integration", help_text="Its exact name; one DEK for each tenant.")
    secret_name = forms.CharField(
        label="Or the name of a secret",
        required=False,
        max_length=LONGEST_NAME,
        help_text="For a DEK of an internal secret, instead of tenant and integration.",
    )
    kek = forms.ModelChoiceField(
        Kek.objects.none(),
        label="KEK",
        empty_label="Choose one",
        help_text="The one that wraps it from the first moment.",
    )
    environment = forms.ChoiceField(label="Environment", required=False, choices=[("", "—"), *Environment.choices])
    owner = forms.ModelChoiceField(Owner.objects.all(), label="Owner", required=False)
    reason = ReasonForm.base_fields["reason"]

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - Django's own signature
        super().__init__(*arguments, **named)
        field: Any = self.fields["kek"]
        field.queryset = Kek.objects.filter(primary__isnull=False).select_related("key").order_by("key__name")
        field.label_from_instance = lambda kek: kek.key.name

    @property
    def parameters(self) -> dict[str, JSON]:
        """Return what is ordered, as services.deks.facts_from() reads it."""
        said = self.cleaned_data
        records = {"tenant": said["tenant"], "integration": said["integration"], "owner": said["owner"]}
        refs: dict[str, JSON] = {name: f"{name}:{one.pk}" for name, one in records.items() if one}
        words: dict[str, JSON] = {name: said[name] for name in ("secret_name", "environment") if said[name]}
        return {"kek": said["kek"].pk, **refs, **words}


class ReencryptedForm(ReasonForm):
    """That nothing is encrypted under an old version any more, and how that is known."""

    evidence = forms.CharField(
        label="How it is known",
        max_length=LONGEST_EVIDENCE,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Such as: the job that re-encrypted the rows, and the count of zero after it. Never key material.",
    )
    field_order = ("evidence", "reason")
