"""What people enter. Forms parse and check shapes; every rule is in the services."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from django import forms

from inventory.errors import StaleError
from inventory.meanwhile import meanwhile
from inventory.models import Key, Owner, Service, Vendor
from inventory.models.links import web_link
from inventory.recognise.text import folded, shown
from inventory.services.keys import FACTS, PERIOD
from inventory.services.relations import Relations, relations_of
from inventory.states import State
from inventory.terms import Classification, Relation

LONGEST_EVIDENCE = 2_000
ENTERED: tuple[str, ...] = tuple(name for name in FACTS if name != "labels")


class Group(NamedTuple):
    """Fields that stand together on a page, under a heading."""

    title: str
    fields: Sequence[tuple[forms.BoundField, bool]]  # whether the record is incomplete without it


class GroupedForm(forms.BaseForm):
    """A form that says how a page is to arrange it."""

    GROUPS: Sequence[tuple[str, Sequence[str]]] = ()
    WANTED: frozenset[str] = frozenset()  # may be left empty, but then it is a finding

    @property
    def groups(self) -> list[Group]:
        """Return the visible fields in groups; a form without groups is one of them."""
        groups = self.GROUPS or [("", list(self.fields))]
        return [
            Group(title, [(self[name], name in self.WANTED) for name in names if name in self.fields])
            for title, names in groups
            if any(name in self.fields for name in names)
        ]


class ReasonForm(GroupedForm, forms.Form):
    """A decision and why it is taken."""

    reason = forms.CharField(
        label="Why", max_length=500, help_text="Kept in the audit log.", widget=forms.Textarea(attrs={"rows": 2})
    )


class RotationForm(GroupedForm, forms.Form):
    """What somebody says of a rotation that was done elsewhere."""

    GROUPS = (("The rotation", ("rotated_on", "url", "evidence")),)

    rotated_on = forms.DateField(
        label="Rotated on",
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text="The day from which the new key is used, in UTC.",
    )
    evidence = forms.CharField(
        label="Evidence",
        max_length=LONGEST_EVIDENCE,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="How somebody else can see it: a change, a version in the key store, a certificate's serial number. "
        "Never the key itself. Kept in the audit log.",
    )
    url = forms.URLField(
        label="Link",
        max_length=500,
        required=False,
        assume_scheme="https",
        validators=[web_link],
        help_text="Where the evidence is.",
    )


class KeyNamesField(forms.CharField):
    """Names of registered keys, one a line; cleans to the keys. A list to choose from would be the whole inventory."""

    widget = forms.Textarea(attrs={"rows": 2, "spellcheck": "false"})

    def __init__(self, *, label: str) -> None:
        super().__init__(
            label=label, required=False, help_text="Names of registered keys, one a line.", max_length=20_000
        )

    def clean(self, value: object) -> list[Key]:
        names = {line.strip() for line in super().clean(value).splitlines() if line.strip()}
        found = {key.name: key for key in Key.objects.filter(name__in=names)}
        if unknown := sorted(names - found.keys()):
            raise forms.ValidationError([f"There is no key named {shown(name)}." for name in unknown[:5]])
        return [found[name] for name in sorted(names)]


def _services(label: str, help_text: str) -> forms.ModelMultipleChoiceField:
    return forms.ModelMultipleChoiceField(
        Service.objects.all(),
        label=label,
        help_text=help_text,
        required=False,
        widget=forms.SelectMultiple(attrs={"size": 6}),
    )


class KeyForm(GroupedForm, forms.ModelForm):
    """The facts of a key. `revision` tells the service which state of the record the person was looking at."""

    GROUPS = (
        ("What it is", ("name", "kind", "purpose", "algorithm", "size_bits", "generation_method")),
        ("Who answers for it", ("owner", "creator", "service", "vendor", "is_shared")),
        ("Since when", ("state", "created_on", "last_rotated_on", "never_rotated")),
        ("How long", PERIOD),
        ("Where it is kept", ("storage_medium", "storage_location", "runbook_url", "is_exportable")),
        ("What it protects", ("environment", "classification", "access", "tenant", "integration", "secret_name")),
        ("What depends on it", ("consumers", "approved_consumers")),
        ("What it depends on", ("wrapped_by", "derived_from")),
        ("Notes", ("notes",)),
        ("Your reason", ("reason",)),
    )
    WANTED = frozenset({"owner", "creator", "service", "created_on", "last_rotated_on", "environment"})

    revision = forms.IntegerField(widget=forms.HiddenInput, required=False)
    reason = forms.CharField(
        label="Why", max_length=500, help_text="Kept in the audit log.", widget=forms.Textarea(attrs={"rows": 2})
    )

    runbook_url = forms.URLField(
        label="Runbook", max_length=500, required=False, assume_scheme="https", validators=[web_link]
    )
    consumers = _services("Used by", "Every service that stops when this key does.")
    approved_consumers = _services(
        "Approved to use it", "Of those, the ones that may. The others are shown as not approved."
    )
    wrapped_by = KeyNamesField(label="Wrapped by")
    derived_from = KeyNamesField(label="Derived from")

    class Meta:
        model = Key
        fields = [name for name in ENTERED if name != "runbook_url"]  # its own declaration chooses https
        widgets = {
            "created_on": forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
            "last_rotated_on": forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
            "purpose": forms.Textarea(attrs={"rows": 2}),
            "notes": forms.Textarea(attrs={"rows": 3}),
        }
        labels = {
            "last_rotated_on": "Last rotated",
            "access": "Opens",
            "is_shared": "Shared by several people or services",
            "is_exportable": "Can be exported from there",
            "secret_name": "Name of the internal secret",
        }
        help_texts = {
            "name": "Exact and unique: imports recognise the key by it.",
            "storage_location": "Where it is kept, in words or as a URI. Never the key itself.",
            "never_rotated": "Known not to have been rotated since it was created.",
            "secret_name": "For a DEK of an internal secret.",
        }

    def __init__(self, *args: Any, **how: Any) -> None:  # noqa: ANN401 - Django's own signature
        super().__init__(*args, **how)
        if self.instance.pk:
            self.initial.update(_related(self.instance))

    @property
    def facts(self) -> dict[str, Any]:
        names = (*ENTERED, *PERIOD)
        return {name: _lines(self.cleaned_data[name]) for name in names if name in self.cleaned_data}

    @property
    def relations(self) -> Relations:
        said = self.cleaned_data
        approved = set(said["approved_consumers"])
        parents = {(key.pk, relation.value) for relation in Relation for key in said[relation.value]}
        return Relations(
            consumers={service.pk: service in approved for service in said["consumers"]}, parents=frozenset(parents)
        )

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        used, approved = cleaned.get("consumers", ()), cleaned.get("approved_consumers", ())
        if strangers := [str(service) for service in approved if service not in used]:
            self.add_error(
                "approved_consumers", f"Not said to use it: {', '.join(strangers)}. Choose them above as well."
            )
        if cleaned.get("never_rotated") and cleaned.get("last_rotated_on"):
            self.add_error("never_rotated", "There is a date of rotation: clear one of the two.")
        created, rotated = cleaned.get("created_on"), cleaned.get("last_rotated_on")
        if created and rotated and rotated < created:
            self.add_error("last_rotated_on", "This lies before the creation date.")
        return cleaned

    def _post_clean(self) -> None:
        """Leave the instance alone: the service sets the facts on a locked row and validates them there."""


def _related(key: Key) -> dict[str, Any]:
    """Return what the fields of the relations show of a registered key. Queries: 3."""
    relations = relations_of(key)
    names = dict(Key.objects.filter(pk__in=[pk for pk, _ in relations.parents]).values_list("pk", "name"))
    above = {
        relation.value: "\n".join(sorted(names[pk] for pk, how in relations.parents if how == relation))
        for relation in Relation
    }
    return above | {
        "consumers": list(relations.consumers),
        "approved_consumers": [pk for pk, may in relations.consumers.items() if may],
    }


def _lines(value: Any) -> Any:  # noqa: ANN401 - whatever a field holds
    """Undo the line ends that browsers send, so that a text nobody touched has not changed."""
    return value.replace("\r\n", "\n") if isinstance(value, str) else value


def _instant(label: str, help_text: str) -> forms.DateTimeField:
    widget = forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")
    return forms.DateTimeField(
        label=label, help_text=f"{help_text} Later only with a second person.", required=False, widget=widget
    )


class RegisterKeyForm(KeyForm):
    state = forms.ChoiceField(
        label="In use",
        choices=[(State.ACTIVE, "yes, it exists and is used"), (State.PRE_ACTIVATION, "not yet")],
        widget=forms.RadioSelect,
        initial=State.ACTIVE,
    )
    activates_at = _instant("Comes into use", "By itself, at this time (UTC). For a key that is not in use yet.")
    protect_until = _instant(
        "Protects until", "From then on it is deactivated, by itself (UTC). Certificates: not after."
    )
    process_until = _instant("Opens what it protected until", "How long old data may still be read with it (UTC).")


class OwnerForm(forms.ModelForm):
    class Meta:
        model = Owner
        fields: tuple[str, ...] = ("handle", "mail", "kind")
        labels = {"handle": "Name"}

    def clean_handle(self) -> str:
        return folded(self.cleaned_data["handle"])

    def clean_mail(self) -> str:
        return folded(self.cleaned_data["mail"])


def _why() -> forms.CharField:
    return forms.CharField(
        label="Why", max_length=500, help_text="Kept in the audit log.", widget=forms.Textarea(attrs={"rows": 2})
    )


class RevisedForm(forms.ModelForm):
    """A change of a record, with why, and with the revision of it that the person was looking at."""

    expected_revision = forms.IntegerField(widget=forms.HiddenInput, required=False)
    reason = _why()

    def __init__(self, *args: Any, **how: Any) -> None:  # noqa: ANN401 - Django's own signature
        super().__init__(*args, **how)
        self.initial["expected_revision"] = self.instance.revision

    def clean(self) -> dict[str, Any]:
        """Say who changed it meanwhile, and what; the service looks once more, at the locked row."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        seen = cleaned.get("expected_revision") or 0
        if seen != self.instance.revision:
            changes = meanwhile(self.instance.ref, self.instance.revision - seen)
            self.add_error(None, [str(StaleError(str(self.instance))), *changes])
        return cleaned


class EditOwnerForm(RevisedForm, OwnerForm):
    class Meta(OwnerForm.Meta):
        fields = ("handle", "mail", "kind", "user", "is_active")
        labels = OwnerForm.Meta.labels | {"user": "Signs in as", "is_active": "Still here"}
        help_texts = {"is_active": "Whoever has left is told nothing more; Security is told of their keys instead."}


class ServiceForm(forms.ModelForm):
    data_classes = forms.MultipleChoiceField(
        label="Data it holds", choices=Classification, required=False, widget=forms.CheckboxSelectMultiple
    )

    class Meta:
        model = Service
        fields = ("name", "description", "team", "tier", "data_classes", "vendor")
        widgets = {"description": forms.Textarea(attrs={"rows": 3})}
        help_texts = {"tier": "What happens when it stops.", "vendor": "Who runs it, where that is somebody outside."}


class EditServiceForm(RevisedForm, ServiceForm):
    """A change of a service."""


class VendorForm(forms.ModelForm):
    class Meta:
        model = Vendor
        fields = ("name", "notes")
        widgets = {"notes": forms.Textarea(attrs={"rows": 3})}


class EditVendorForm(RevisedForm, VendorForm):
    """A change of a vendor."""


class MaterialInput(forms.Textarea):
    """Takes material and never gives it back: not in the form that is shown again, and not to the browser's memory."""

    def __init__(self) -> None:
        super().__init__({"rows": 4, "autocomplete": "off", "spellcheck": "false", "autocapitalize": "off"})

    def format_value(self, value: object) -> None:
        """Show nothing, whatever was entered."""


class TokenForm(GroupedForm, forms.Form):
    token = forms.CharField(
        label="The token",
        max_length=20_000,
        widget=MaterialInput,
        help_text="Or a key in PEM. It is compared and forgotten: neither the database nor any log keeps it.",
    )

    @property
    def material(self) -> bytes:
        token: str = self.cleaned_data["token"]
        return token.encode()


class DigestForm(TokenForm, ReasonForm):
    GROUPS = (("", ("token", "reason")),)


class DayForm(forms.Form):
    day = forms.DateField(
        label="Day",
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        input_formats=["%Y-%m-%d"],
        error_messages={"invalid": "Write the day as 2031-01-01.", "required": "Choose a day."},
    )
