"""Forms of sign-in, enrolment and one's own second factors."""

from typing import Any, cast

from django import forms
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.password_validation import password_validators_help_texts
from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils import timezone
from django.views.decorators.debug import sensitive_variables

from audit.actor import actor_of, signed_in
from keyvault_admin.access import services, throttle
from keyvault_admin.access.challenges import take_visitor_challenge
from keyvault_admin.access.models import Passkey, RecoverySheet, TotpDevice, User
from keyvault_admin.access.passkeys import ANSWER_CHARACTERS

LONGEST_TYPED = 256  # characters of what is typed as a name; a name has 64, and 18 letters may stand for one
NOTHING_SHOWN = "Type the code of your authenticator app, or use a passkey or a recovery code."
Shown = dict[str, str | None]  # what a form holds of a second factor, by the name of the field


class CodeInput(forms.PasswordInput):
    """Readable while it is typed, and never sent back: a code that was refused is of no more use."""

    input_type = "text"


class AnswerInput(forms.PasswordInput):
    """Filled in by a script, and never sent back either."""

    input_type = "hidden"


class CodeField(forms.CharField):
    """Six ASCII digits, taken exactly as typed: nothing is stripped or converted."""

    def __init__(self, *, autofocus: bool = False, required: bool = True) -> None:
        attributes = {"inputmode": "numeric", "autocomplete": "one-time-code", "pattern": "[0-9]{6}", "maxlength": "6"}
        if autofocus:
            attributes["autofocus"] = "autofocus"
        super().__init__(
            label="One-time code",
            strip=False,
            required=required,
            max_length=64,
            widget=CodeInput(attrs=attributes),
            help_text="Six digits from your authenticator app. Each works once.",
        )


class RecoveryCodeField(forms.CharField):
    """One code of the sheet; never sent back."""

    def __init__(self) -> None:
        super().__init__(
            label="Recovery code",
            required=False,
            strip=False,
            max_length=64,
            widget=CodeInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "characters"}),
            help_text="One of those you wrote down or printed, in place of the code. Each works once.",
        )


class AssertionField(forms.CharField):
    """What the browser says in the name of a passkey; a script fills it in."""

    def __init__(self) -> None:
        super().__init__(required=False, strip=False, max_length=ANSWER_CHARACTERS, widget=AnswerInput)


class SignInForm(AdminAuthenticationForm):
    """Name, password and one second factor on one page; whichever is wrong, the answer is the same."""

    code = CodeField(required=False)
    recovery_code = RecoveryCodeField()
    assertion = AssertionField()

    error_messages = {
        "invalid_login": "That name, password and code do not go together. A code works once: wait for the next one.",
        "inactive": "That name, password and code do not go together. A code works once: wait for the next one.",
    }

    def clean_username(self) -> str:
        """Cut what is far too long for a name: bringing megabytes of Unicode into their normal form takes seconds."""
        return str(self.cleaned_data["username"])[:LONGEST_TYPED]

    @sensitive_variables()
    def clean(self) -> dict[str, Any]:
        """Look at the password only together with a second factor, so that without one nothing is told about it.

        Until the password is right nothing depends on whom the form names, so the work is the same for everybody.
        """
        shown = shown_in(self.cleaned_data)
        if not any(shown.values()):
            self.add_error("code", NOTHING_SHOWN)
        if self.errors:
            return self.cleaned_data
        challenge = None
        if shown["assertion"]:  # taken whatever comes of it: it is good for one answer
            challenge = take_visitor_challenge(self._asked_by, now=timezone.now())
        try:
            super().clean()
        except ValidationError:
            if throttle.was_tried(self._asked_by):  # the time taken does not tell what was wrong
                checked_factor(self._asked_by, services.nobody(), shown, challenge)
            raise
        user = self.get_user()
        if user is not None:
            user.otp_device = checked_factor(self._asked_by, user, shown, challenge)
            if user.otp_device is None:
                self._refuse_factor(user.get_username())
        return self.cleaned_data

    @property
    def _asked_by(self) -> HttpRequest:
        return cast("HttpRequest", self.request)  # a sign-in without a request exists in Django's types only

    def _refuse_factor(self, username: str) -> None:
        user_login_failed.send(sender=__name__, credentials={"username": username}, request=self.request)
        raise self.get_invalid_login_error()


class SecondFactorForm(forms.Form):
    """The second factor by itself, of somebody whom single sign-on has identified."""

    code = CodeField(autofocus=True, required=False)
    recovery_code = RecoveryCodeField()
    assertion = AssertionField()

    @sensitive_variables()
    def clean(self) -> dict[str, Any]:
        if not any(shown_in(self.cleaned_data).values()):
            self.add_error("code", NOTHING_SHOWN)
        return self.cleaned_data


def shown_in(content: dict[str, Any]) -> Shown:
    """Return what was shown as a second factor."""
    return {name: content.get(name) for name in ("assertion", "code", "recovery_code")}


@sensitive_variables()
def checked_factor(
    request: HttpRequest, user: User, shown: Shown, challenge: bytes | None
) -> Passkey | TotpDevice | RecoverySheet | None:
    """Return the factor of this person that what was shown belongs to, else None; a wrong one is counted."""
    if not shown["assertion"] and (code := shown["code"]):
        return services.verify_code(person=user, code=code)
    now = timezone.now()
    actor = signed_in(actor_of(request), user)
    if answer := shown["assertion"]:
        return services.verify_assertion(person=user, answer=answer, challenge=challenge, actor=actor, now=now)
    return services.use_recovery_code(person=user, code=shown["recovery_code"] or "", actor=actor, now=now)


class StepUpForm(forms.Form):
    """A code or a passkey once more."""

    code = CodeField(autofocus=True, required=False)
    assertion = AssertionField()

    @sensitive_variables()
    def clean(self) -> dict[str, Any]:
        if not self.cleaned_data.get("code") and not self.cleaned_data.get("assertion"):
            self.add_error("code", "Type the code of your authenticator app, or use a passkey.")
        return self.cleaned_data


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


class FactorNameField(forms.CharField):
    """How a person tells their second factors apart."""

    def __init__(self, example: str) -> None:
        super().__init__(
            label="Name",
            max_length=64,
            widget=forms.TextInput(attrs={"autocomplete": "off"}),
            help_text=f"So that you recognise it in the list, such as “{example}”.",
        )


class AppForm(forms.Form):
    """The first code of one more authenticator app."""

    name = FactorNameField("Phone")
    code = CodeField()


class PasskeyForm(forms.Form):
    """A passkey that the browser has just made."""

    name = FactorNameField("Laptop")
    creation = forms.CharField(strip=False, max_length=ANSWER_CHARACTERS, widget=AnswerInput)


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
