"""What people enter. Forms parse and check shapes; every rule is in the services."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django import forms
from django.conf import settings

from inventory.models import Key, Owner, Service
from inventory.recognise.text import folded
from inventory.services.keys import FACTS
from inventory.states import State

LONGEST_EVIDENCE = 2_000
ENTERED: tuple[str, ...] = tuple(name for name in FACTS if name not in {"parent", "labels"})


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
        label="Link", max_length=500, required=False, assume_scheme="https", help_text="Where the evidence is."
    )


class KeyForm(GroupedForm, forms.ModelForm):
    """The facts of a key. `revision` tells the service which state of the record the person was looking at."""

    GROUPS = (
        ("What it is", ("name", "kind", "purpose", "algorithm", "size_bits", "generation_method")),
        ("Who answers for it", ("owner", "creator", "service", "is_shared")),
        ("Since when", ("state", "created_on", "last_rotated_on", "never_rotated")),
        ("Where it is kept", ("storage_medium", "storage_location", "runbook_url", "is_exportable")),
        ("What it protects", ("environment", "classification", "access", "tenant", "integration", "secret_name")),
        ("Notes", ("notes",)),
        ("Why", ("reason",)),
    )
    WANTED = frozenset({"owner", "creator", "service", "created_on", "last_rotated_on", "environment"})

    revision = forms.IntegerField(widget=forms.HiddenInput, required=False)
    reason = forms.CharField(
        label="Why", max_length=500, help_text="Kept in the audit log.", widget=forms.Textarea(attrs={"rows": 2})
    )

    runbook_url = forms.URLField(label="Runbook", max_length=500, required=False, assume_scheme="https")

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

    @property
    def facts(self) -> dict[str, Any]:
        return {name: _lines(self.cleaned_data[name]) for name in ENTERED if name in self.cleaned_data}

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("never_rotated") and cleaned.get("last_rotated_on"):
            self.add_error("never_rotated", "There is a date of rotation: clear one of the two.")
        created, rotated = cleaned.get("created_on"), cleaned.get("last_rotated_on")
        if created and rotated and rotated < created:
            self.add_error("last_rotated_on", "This lies before the creation date.")
        return cleaned

    def _post_clean(self) -> None:
        """Leave the instance alone: the service sets the facts on a locked row and validates them there."""


def _lines(value: Any) -> Any:  # noqa: ANN401 - whatever a field holds
    """Undo the line ends that browsers send, so that a text nobody touched has not changed."""
    return value.replace("\r\n", "\n") if isinstance(value, str) else value


class RegisterKeyForm(KeyForm):
    state = forms.ChoiceField(
        label="In use",
        choices=[(State.ACTIVE, "yes, it exists and is used"), (State.PRE_ACTIVATION, "not yet")],
        widget=forms.RadioSelect,
        initial=State.ACTIVE,
    )


class OwnerForm(forms.ModelForm):
    class Meta:
        model = Owner
        fields = ("handle", "mail", "kind")
        labels = {"handle": "Name"}

    def clean_handle(self) -> str:
        return folded(self.cleaned_data["handle"])

    def clean_mail(self) -> str:
        return folded(self.cleaned_data["mail"])


class ServiceForm(forms.ModelForm):
    class Meta:
        model = Service
        fields = ("name", "description")


class UploadForm(forms.Form):
    file = forms.FileField(label="File", help_text="A CSV file, as spreadsheets export it.")
    reason = forms.CharField(label="Why", max_length=500, help_text="Kept in the audit log.")

    def clean_file(self) -> Mapping[str, Any]:
        upload = self.cleaned_data["file"]
        if upload.size > settings.IMPORT_MAX_BYTES:
            raise forms.ValidationError(
                f"The file has {upload.size:,} bytes; at most {settings.IMPORT_MAX_BYTES:,} are read. Split it."
            )
        return {"name": upload.name, "content": upload.read()}
