"""Forms of sign-in and enrolment."""

from typing import Any

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.password_validation import password_validators_help_texts
from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from keyvault_admin.access import services


class CodeInput(forms.PasswordInput):
    """Readable while it is typed, and never sent back: a code that was refused is of no more use."""

    input_type = "text"


class CodeField(forms.CharField):
    """Six ASCII digits, taken exactly as typed: nothing is stripped or converted."""

    def __init__(self, *, autofocus: bool = False) -> None:
        attributes = {"inputmode": "numeric", "autocomplete": "one-time-code", "pattern": "[0-9]{6}", "maxlength": "6"}
        if autofocus:
            attributes["autofocus"] = "autofocus"
        super().__init__(
            label="One-time code",
            strip=False,
            max_length=64,
            widget=CodeInput(attrs=attributes),
            help_text="Six digits from your authenticator app. Each works once.",
        )


class SignInForm(AdminAuthenticationForm):
    """Name, password and code on one page; whichever is wrong, the answer is the same."""

    code = CodeField()

    error_messages = {
        "invalid_login": "That name, password and code do not go together. A code works once: wait for the next one.",
        "inactive": "That name, password and code do not go together. A code works once: wait for the next one.",
    }

    @sensitive_variables("code")
    def clean(self) -> dict[str, Any]:
        """Look at the password only together with a code, so that an empty code tells nothing about it."""
        if "code" not in self.cleaned_data:
            return self.cleaned_data
        code = self.cleaned_data["code"]
        try:
            super().clean()
        except ValidationError:
            if not getattr(self.request, "axes_locked_out", False):
                services.verify_code_of_nobody(
                    code=code, now=timezone.now()
                )  # so that the time taken does not tell what was wrong
            raise
        user = self.get_user()
        if user is not None:
            user.otp_device = services.verify_code(person=user, code=code)
            if user.otp_device is None:
                self._refuse_code(user.get_username())
        return self.cleaned_data

    def _refuse_code(self, username: str) -> None:
        user_login_failed.send(sender=__name__, credentials={"username": username}, request=self.request)
        raise self.get_invalid_login_error()


class TokenForm(forms.Form):
    """The part of an enrolment link that stands behind the "#"; a script fills it in."""

    token = forms.CharField(
        label="Your one-time link, or the part of it behind the #",
        max_length=300,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autofocus": "autofocus"}),
    )

    def clean_token(self) -> str:
        """Take a whole pasted link too."""
        return str(self.cleaned_data["token"]).rpartition("#")[2]


class EnrolmentForm(forms.Form):
    """The first code of a new authenticator app, and a password for who has none yet."""

    code = CodeField(autofocus=True)
    password = forms.CharField(
        label="New password", strip=False, max_length=4096, widget=forms.PasswordInput({"autocomplete": "new-password"})
    )
    repeated = forms.CharField(
        label="The same password again",
        strip=False,
        max_length=4096,
        widget=forms.PasswordInput({"autocomplete": "new-password"}),
    )

    def __init__(self, *arguments: Any, asks_password: bool, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **options)
        self.fields["password"].help_text = " ".join(password_validators_help_texts())
        if not asks_password:
            del self.fields["password"], self.fields["repeated"]

    @sensitive_variables()
    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("password") != self.cleaned_data.get("repeated"):
            self.add_error("repeated", ValidationError("The two passwords differ.", code="password_mismatch"))
        return self.cleaned_data
