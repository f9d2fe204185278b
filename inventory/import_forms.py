"""What people enter to import a file, and what they answer about it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from django import forms
from django.conf import settings

from inventory.errors import FileTooLargeError, InventoryError
from inventory.reading import DATE_CHOICES, FIELDS, Heading
from inventory.services import ImportOptions, checked
from inventory.services.headers import keys_of
from inventory.wording import label_of

FIELD_CHOICES: tuple[tuple[str, str], ...] = (("", "leave out"), *((name, label_of(name)) for name in FIELDS))


class UploadForm(forms.Form):
    file = forms.FileField(
        label="File",
        help_text="A CSV file, an Excel workbook or JSON; or certificates, SSH public keys, JSON web keys.",
    )
    reason = forms.CharField(label="Why", max_length=500, help_text="Kept in the audit log.")

    def clean_file(self) -> Mapping[str, Any]:
        """Refuse by size before anything is read."""
        upload, most = self.cleaned_data["file"], settings.IMPORT_MAX_BYTES
        if upload.size > most:
            raise forms.ValidationError(str(FileTooLargeError(upload.name, upload.size, most)))
        return {"name": upload.name, "content": upload.read()}


class Column(NamedTuple):
    """A column on the page: what a mapping calls it, what is chosen for it, and where the choice comes from."""

    key: str
    heading: Heading
    chosen: str
    because: str


def columns_of(headings: Sequence[Heading], mapping: Mapping[str, str]) -> list[Column]:
    """Return the columns of a file with a suggestion chosen where nobody has said anything and we read nothing."""
    return [
        _column(key, heading, is_said=key in mapping) for key, heading in zip(keys_of(headings), headings, strict=True)
    ]


def _column(key: str, heading: Heading, *, is_said: bool) -> Column:
    if heading.field or is_said or not heading.suggestion:
        return Column(key, heading, heading.field, "")
    return Column(key, heading, heading.suggestion, "suggested, left out so far")


class AnswersForm(forms.Form):
    """What somebody answers about a file. Each column comes as a pair of `header` and `field`, in order; each new owner
    or service as `offered`, and as `taken` unless it is to be left out.
    """

    dates = forms.ChoiceField(
        label="What comes first", choices=[(one.value, one.label) for one in DATE_CHOICES], required=False
    )

    def options(self, before: ImportOptions) -> ImportOptions:
        """Return the options with these answers. Raises: InventoryError for what no page of ours sends."""
        headers, names = self._listed("header"), self._listed("field")
        if not self.is_valid() or len(headers) != len(names):
            raise InventoryError("The answers were not complete. Choose again.")
        answers = checked(date_order=self.cleaned_data["dates"], mapping=dict(zip(headers, names, strict=True)))
        offered, taken = set(self._listed("offered")), set(self._listed("taken"))
        return ImportOptions(
            date_order=answers.date_order,
            mapping=answers.mapping,
            left_out=(before.left_out - offered) | (offered - taken),
        )

    def _listed(self, name: str) -> list[str]:
        return list(self.data.getlist(name))  # type: ignore[attr-defined]  # a QueryDict
