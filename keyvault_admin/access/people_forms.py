"""Forms of the pages on which Security keeps people. None of them has a field for a right, a password or a factor."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from keyvault_admin.access import names
from keyvault_admin.access.errors import NameRefusedError
from keyvault_admin.access.models import User
from keyvault_admin.access.roles import Role

LONGEST_NAME = 150


class WhyForm(forms.Form):
    """A decision about a person, and why it is taken."""

    reason = forms.CharField(
        label="Why", max_length=500, help_text="Kept in the audit log.", widget=forms.Textarea(attrs={"rows": 2})
    )


class CommentForm(forms.Form):
    """What somebody found who looked at a restored quorum."""

    comment = forms.CharField(
        label="What you found",
        max_length=500,
        help_text="Whom you asked, and whether it had to be. Kept in the audit log.",
        widget=forms.Textarea(attrs={"rows": 3}),
    )


class MailField(forms.CharField):
    """A mail address in its one normal form."""

    def __init__(self) -> None:
        super().__init__(label="Mail address", max_length=254, widget=forms.EmailInput(attrs={"autocomplete": "off"}))

    def clean(self, value: Any) -> str:  # noqa: ANN401 - Django's own signature
        try:
            return names.mail_of(super().clean(value))
        except NameRefusedError as error:
            raise ValidationError(str(error)) from error


def _full_name() -> forms.CharField:
    return forms.CharField(
        label="Full name",
        max_length=LONGEST_NAME,
        help_text="As colleagues know them.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


class AddPersonForm(forms.Form):
    """Who somebody is, and nothing of what they may do."""

    username = forms.CharField(
        label="User name",
        max_length=64,
        help_text="What they type to sign in; it cannot be changed later. Letters a to z, digits, dot, hyphen.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none", "spellcheck": "false"}),
    )
    full_name = _full_name()
    mail = MailField()

    def clean_username(self) -> str:
        try:
            return names.username_of(self.cleaned_data["username"])
        except NameRefusedError as error:
            raise ValidationError(str(error)) from error


class EditPersonForm(WhyForm):
    """The two facts about a person that change."""

    full_name = _full_name()
    mail = MailField()
    field_order = ("full_name", "mail", "reason")


def _last_day() -> forms.DateField:
    return forms.DateField(
        label="Last day",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text="The account works until the end of this day, in UTC. Leave it empty for an account without end.",
    )


class EndDateForm(WhyForm):
    """The last day of an account; empty for none."""

    ends_on = _last_day()
    field_order = ("ends_on", "reason")


class RevokeRoleForm(WhyForm):
    """Which of a person's roles is taken; its exact name, as everywhere."""

    role = forms.ChoiceField(label="Role", widget=forms.RadioSelect)
    field_order = ("role", "reason")

    def __init__(self, *arguments: Any, person: User, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **options)
        held = [(role.value, role.value) for role in Role if role in person.role_names]
        self.fields["role"].choices = held  # type: ignore[attr-defined]
        if len(held) == 1:
            self.fields["role"].initial = held[0][0]


class AskRoleForm(WhyForm):
    """Which role somebody should have; an auditor from outside with a last day."""

    role = forms.ChoiceField(label="Role", widget=forms.RadioSelect)
    ends_on = _last_day()
    of_the_house = forms.BooleanField(label="An auditor of the house, whose account has no last day", required=False)
    field_order = ("role", "ends_on", "of_the_house", "reason")

    def __init__(self, *arguments: Any, person: User, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **options)
        self.person = person
        self.fields["role"].choices = [  # type: ignore[attr-defined]
            (role.value, role.value) for role in Role if role not in person.role_names
        ]

    def clean(self) -> dict[str, Any]:
        said = super().clean() or self.cleaned_data
        is_open = said.get("ends_on") is None and self.person.ends_on is None
        if said.get("role") == Role.AUDITOR and is_open and not said.get("of_the_house"):
            self.add_error("ends_on", "An auditor's account has a last day; for one of the house, say so below.")
        return said


class AskReturnForm(WhyForm):
    """Until when somebody comes back."""

    ends_on = _last_day()
    field_order = ("ends_on", "reason")
