"""What can be asked of KEKs and DEKs, and what each form asks for. Every rule is in the operations."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.conf import settings
from django.contrib.admin import ModelAdmin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse

from audit.canonical import JSON
from audit.step_up import requires_step_up
from inventory.custody import BackendError, WrapAlgorithm, capabilities_of
from inventory.models import KekVersion, Key, Owner, Service
from inventory.terms import Environment, KeyKind
from rotation.asking_forms import AskForm
from rotation.asking_views import About, Question, ask_about, may_look, of_key
from rotation.custody_pages import acts

FEWEST_DAYS, MOST_DAYS = 1, 365


class VersionForm(AskForm):
    """A question about one version of a KEK."""

    number = forms.TypedChoiceField(label="Version", coerce=int)

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - Django's own signature
        super().__init__(*arguments, **named)
        rows = KekVersion.objects.filter(kek=self.key.pk).select_related("version").defer("canary")
        found = sorted((row.version.number, row.get_status_display()) for row in rows)
        self.choices_of("number", [(str(number), f"Version {number}: {status}") for number, status in found])

    def choices_of(self, name: str, choices: list[tuple[str, str]]) -> None:
        field: Any = self.fields[name]
        field.choices = [("", "Choose one"), *choices]

    @property
    def parameters(self) -> dict[str, JSON]:
        return {**super().parameters, "number": self.cleaned_data["number"]}


class ScheduleForm(VersionForm):
    days = forms.IntegerField(label="Days until it is destroyed", help_text="Until then it can be recovered.")

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - Django's own signature
        super().__init__(*arguments, **named)
        try:
            fewest, most = capabilities_of(self.key.kek.uri).waiting_days
        except BackendError:
            fewest, most = 0, 0
        field: Any = self.fields["days"]
        field.min_value, field.max_value = fewest or FEWEST_DAYS, most or MOST_DAYS
        field.initial = field.max_value if most else 30
        field.help_text = f"Between {field.min_value} and {field.max_value}. Until then it can be recovered."

    @property
    def parameters(self) -> dict[str, JSON]:
        return {**super().parameters, "days": self.cleaned_data["days"]}


class NewKekForm(AskForm):
    """Where a KEK is made, or is already, and who answers for it."""

    name = forms.CharField(label="Name", max_length=200, help_text="Of its record here: exact and used once.")
    store = forms.ChoiceField(label="Key store", help_text="Those that the settings name (KEYVAULT_KMS).")
    name_there = forms.RegexField(
        r"^[!-~]+$", label="Name in the store", max_length=100, help_text="Letters, digits and signs, no spaces."
    )
    algorithm = forms.ChoiceField(
        label="Wraps with", choices=[(one.value, one.value) for one in WrapAlgorithm], help_text="As its store can."
    )
    takes_over = forms.BooleanField(label="It is in the store already: take it over", required=False)
    created_on = forms.DateField(
        label="Created on",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d"),
        help_text="Of one that is taken over.",
    )
    owner = forms.ModelChoiceField(Owner.objects.all(), label="Owner", empty_label="Choose one")
    service = forms.ModelChoiceField(Service.objects.all(), label="Service", empty_label="Choose one")
    environment = forms.ChoiceField(label="Environment", choices=[("", "Choose one"), *Environment.choices])

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - Django's own signature
        super().__init__(*arguments, key=Key(), **named)
        field: Any = self.fields["store"]
        field.choices = [("", "Choose one"), *((prefix, prefix) for prefix in _stores())]

    @property
    def parameters(self) -> dict[str, JSON]:
        said = self.cleaned_data
        owner = f"owner:{said['owner'].pk}"
        facts: dict[str, JSON] = {
            "name": said["name"],
            "owner": owner,
            "creator": owner,
            "service": f"service:{said['service'].pk}",
            "environment": said["environment"],
        }
        if said["takes_over"] and said["created_on"]:
            facts["created_on"] = said["created_on"].isoformat()
        uri = f"{said['store']}/{said['name_there']}"
        return {"uri": uri, "algorithm": said["algorithm"], "takes_over": said["takes_over"], "facts": facts}


class LinkForm(AskForm):
    """Where the KEK is that a record is about."""

    store = forms.ChoiceField(label="Key store", help_text="Those that the settings name (KEYVAULT_KMS).")
    name_there = forms.RegexField(
        r"^[!-~]+$", label="Name in the store", max_length=100, help_text="Letters, digits and signs, no spaces."
    )
    algorithm = forms.ChoiceField(
        label="Wraps with",
        choices=[("", "Choose one"), *((one.value, one.value) for one in WrapAlgorithm)],
        help_text="As its store has it; the worker looks whether that is so.",
    )

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - Django's own signature
        super().__init__(*arguments, **named)
        field: Any = self.fields["store"]
        field.choices = [("", "Choose one"), *((prefix, prefix) for prefix in _stores())]

    @property
    def parameters(self) -> dict[str, JSON]:
        said = self.cleaned_data
        uri = f"{said['store']}/{said['name_there']}"
        return {**super().parameters, "uri": uri, "algorithm": said["algorithm"]}


def _stores() -> list[str]:
    """Return the stores of the settings as an address of a KEK begins: "openbao:main"."""
    return sorted(f"{address.partition(':')[0]}:{name}" for name, address in settings.KMS_STORES.items())


KEK_QUESTIONS = {
    acts.ROTATE: Question(
        acts.ROTATE,
        "rotate",
        AskForm,
        "The store makes a new version; after two equal looks it takes the new wraps, and a job brings all DEKs to it.",
    ),
    acts.DISABLE: Question(
        acts.DISABLE,
        "disable a version of",
        VersionForm,
        "The store lets this version open nothing any more. Only where nothing needs it; it can be enabled again.",
    ),
    acts.SCHEDULE: Question(
        acts.SCHEDULE,
        "schedule the destruction of a version of",
        ScheduleForm,
        "After the waiting time the store destroys this version for good. Until then it can be recovered.",
    ),
    acts.PURGE: Question(
        acts.PURGE,
        "destroy a version of",
        VersionForm,
        "The store destroys this version at once and for good. What was wrapped by it is lost wherever it is kept.",
    ),
    acts.RECOVER: Question(
        acts.RECOVER,
        "recover a version of",
        VersionForm,
        "Takes back that a version was disabled, or is to be destroyed. It opens again and takes no new wraps.",
    ),
}
ROTATE_DEK = Question(
    "dek.rotate",
    "rotate",
    AskForm,
    "A new DEK is made for what comes. The old one stays readable until its data is re-encrypted and confirmed.",
)


NEW_KEK = Question(
    "kek.create",
    "make a KEK",
    NewKekForm,
    "A key that wraps others, made in a key store and never leaving it; or one that is there already, taken over.",
)


LINK_KEK = Question(
    acts.LINK,
    "link",
    LinkForm,
    "This record becomes that of a KEK which is in a key store already. It keeps its owner, dates, notes and history.",
)


def about_kek(key: Key) -> About:
    crumb = ("Key-encrypting keys", reverse("admin:inventory_kek_changelist"))
    return About(key.name, reverse("admin:inventory_kek_change", args=[key.pk]), (crumb,), (key.ref,))


def _ask_kek(admin: ModelAdmin, request: HttpRequest, pk: int, code: str) -> HttpResponse:
    may_look(request)
    key = get_object_or_404(Key.objects.select_related("owner", "service", "kek"), pk=pk, kek__isnull=False)
    question = KEK_QUESTIONS[code]
    form = question.form(request.POST or None, key=key, initial={"number": request.GET.get("number", "")})
    return ask_about(admin, request, question, about_kek(key), form)


@requires_step_up
def rotate_kek(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Ask that a KEK be rotated."""
    return _ask_kek(admin, request, pk, acts.ROTATE)


@requires_step_up
def new_kek(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Ask that a KEK be made or taken over."""
    may_look(request)
    url = reverse("admin:inventory_kek_changelist")
    about = About("", url, (("Key-encrypting keys", url),))
    return ask_about(admin, request, NEW_KEK, about, NewKekForm(request.POST or None))


@requires_step_up
def link_kek(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Ask that a record be linked to the KEK in a store that it is about."""
    may_look(request)
    key = get_object_or_404(Key.objects.select_related("owner", "service"), pk=pk, kind=KeyKind.KEK)
    return ask_about(admin, request, LINK_KEK, of_key(key), LinkForm(request.POST or None, key=key))


@requires_step_up
def disable(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Ask that a version of a KEK be disabled."""
    return _ask_kek(admin, request, pk, acts.DISABLE)


@requires_step_up
def schedule(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Ask that a version of a KEK be destroyed after a waiting time."""
    return _ask_kek(admin, request, pk, acts.SCHEDULE)


@requires_step_up
def purge(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Ask that a version of a KEK be destroyed at once."""
    return _ask_kek(admin, request, pk, acts.PURGE)


@requires_step_up
def recover(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Ask that a version of a KEK come back."""
    return _ask_kek(admin, request, pk, acts.RECOVER)


@requires_step_up
def rotate_dek(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Ask that a DEK be rotated."""
    may_look(request)
    key = get_object_or_404(Key.objects.select_related("owner", "service"), pk=pk, kind=KeyKind.DEK)
    form = AskForm(request.POST or None, key=key)
    return ask_about(admin, request, ROTATE_DEK, of_key(key), form)


def patterns(page: Callable[[Any], Any]) -> list[URLPattern]:
    """Return the addresses of these pages, for the admin of requests."""
    return [
        path("ask/kek/", page(new_kek), name="rotation_request_ask_kek"),
        path("ask/kek/link/<int:pk>/", page(link_kek), name="rotation_request_ask_kek_link"),
        path("ask/kek/rotate/<int:pk>/", page(rotate_kek), name="rotation_request_ask_kek_rotate"),
        path("ask/kek/disable/<int:pk>/", page(disable), name="rotation_request_ask_kek_disable"),
        path("ask/kek/schedule/<int:pk>/", page(schedule), name="rotation_request_ask_kek_schedule"),
        path("ask/kek/purge/<int:pk>/", page(purge), name="rotation_request_ask_kek_purge"),
        path("ask/kek/recover/<int:pk>/", page(recover), name="rotation_request_ask_kek_recover"),
        path("ask/dek/rotate/<int:pk>/", page(rotate_dek), name="rotation_request_ask_dek_rotate"),
    ]
