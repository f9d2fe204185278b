"""The pages that change the rules: what somebody enters is first shown in its effect on the keys, then asked for.

Between the two steps what was entered travels in the page, signed and bound to the person; the effect that was shown is
known by its digest, and asking shows it once more when it has become another. Raising the threat level makes no key
less late and is saved at once; everything else waits for votes.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin
from django.core import signing
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils import timezone

from audit.actor import actor_of
from audit.selectors import timeline
from audit.step_up import requires_step_up
from inventory import asking, services
from inventory.chips import severity_chip
from inventory.clause_forms import ClauseForm, EditClauseForm, ThreatForm, WhyForm
from inventory.clause_wording import changed_lines, demands_of, history, named, scope_of, turned_words, verb_of
from inventory.conflicts import disagreements
from inventory.counts import reaches
from inventory.effects import simulate
from inventory.errors import EffectChangedError, InventoryError
from inventory.finding_effects import FindingsEffect
from inventory.models import PolicyClause, ThreatLevel
from inventory.models.threat import lowers
from inventory.selectors import clauses_in_force, threat_level
from inventory.services.clauses import KEYS_AT_ONCE

HISTORY_LENGTH = 50
DRAFT_LIFETIME = timedelta(hours=1)
SALT = "inventory.clause_views.draft"


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A change that somebody has entered and not saved: what it says, of which revision, and why."""

    act: str  # register, edit, retire or threat
    user: int
    pk: int | None = None  # of the clause
    code: str = ""  # of a new clause
    facts: Mapping[str, Any] = field(default_factory=dict)
    revision: int = 0
    reason: str

    def sealed(self) -> str:
        return signing.dumps(asdict(self), salt=SALT, compress=True)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What the pages of one act say, and how what is entered becomes a draft."""

    act: str
    title: str
    consequence: str
    form: Callable[[Any, dict[str, Any]], WhyForm]
    initial: dict[str, Any]
    clause: PolicyClause | None = None


# Reading


def page(admin: ModelAdmin, request: HttpRequest, pk: str) -> HttpResponse:
    """Show a clause: what it says, what it demands, of how many keys, and its history. Queries: at most 12."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    clause = get_object_or_404(PolicyClause, pk=pk if pk.isdecimal() else None)
    context = {
        "title": clause.label,
        "clause": clause,
        "demands": demands_of(clause),
        "scope": scope_of(clause),
        "reach": reaches([clause])[clause.pk],
        "threat": threat_level(),
        "history": history(timeline(clause.ref, limit=HISTORY_LENGTH), clause.ref),
        "may_change": _may_change(request),
    }
    return _render(admin, request, "clause", context)


def conflicts(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Show where the policies disagree. Queries: at most 6."""
    if not admin.has_view_permission(request):
        raise PermissionDenied
    table = disagreements(clauses_in_force())
    lines = [(topic, list(zip(table.sources, topic.sayings, strict=True))) for topic in table.topics]
    return _render(
        admin, request, "conflicts", {"title": "Where the policies disagree", "table": table, "lines": lines}
    )


# Changing


@requires_step_up
def register(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Put a new clause in force."""
    return _change(admin, request, Step(
        act="register",
        title="Register a clause",
        consequence="Once Security and DevOps have voted for it, it holds for every key that it speaks of, "
        "beside all the others.",
        form=lambda entered, initial: ClauseForm(entered, initial=initial),
        initial={},
    ))  # fmt: skip


@requires_step_up
def edit(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Change what a clause says."""
    clause = get_object_or_404(PolicyClause, pk=pk, is_in_force=True)
    return _change(admin, request, Step(
        act="edit",
        title=f"Edit {clause.label}",
        consequence="Before anything is asked for you see which keys become overdue by it, and whose they are. "
        "Security and DevOps vote on it.",
        form=lambda entered, initial: EditClauseForm(entered, initial=initial),
        initial=ClauseForm.facts_to_show(clause),
        clause=clause,
    ))  # fmt: skip


@requires_step_up
def retire(admin: ModelAdmin, request: HttpRequest, pk: int) -> HttpResponse:
    """Take a clause out of force for good."""
    clause = get_object_or_404(PolicyClause, pk=pk, is_in_force=True)
    return _change(admin, request, Step(
        act="retire",
        title=f"Retire {clause.label}",
        consequence="The clause stays on record with its history and judges no key any more. There is no way back: "
        "who wants it again registers a new one. Security and DevOps vote on it.",
        form=lambda entered, initial: WhyForm(entered, initial=initial),
        initial={"revision": clause.revision},
        clause=clause,
    ))  # fmt: skip


@requires_step_up
def threat(admin: ModelAdmin, request: HttpRequest) -> HttpResponse:
    """Set the threat level."""
    return _change(admin, request, Step(
        act="threat",
        title="Threat level",
        consequence="Above normal, only part of every longest age is left, in whole days. Raising it holds at once; "
        "what leaves more time than now waits for the votes of Security and DevOps.",
        form=lambda entered, initial: ThreatForm(entered, initial=initial),
        initial=ThreatForm.facts_to_show(threat_level()),
    ))  # fmt: skip


def _change(admin: ModelAdmin, request: HttpRequest, step: Step) -> HttpResponse:
    """Show the form, then what it would do, then ask for it, or do it."""
    if not _may_change(request):
        raise PermissionDenied
    if "draft" in request.POST:
        return _second_step(admin, request, step)
    form = step.form(request.POST or None, step.initial)
    if request.method == "POST" and form.is_valid():
        draft = Draft(
            act=step.act,
            user=request.user.pk or 0,
            pk=step.clause.pk if step.clause else None,
            code=form.cleaned_data.get("code", ""),
            facts=form.facts,
            revision=form.cleaned_data.get("revision") or 0,
            reason=form.cleaned_data["reason"],
        )
        try:
            return _effect_page(admin, request, step, draft)
        except ValidationError as error:
            _show(form, error)
    return _form_page(admin, request, step, form)


def _second_step(admin: ModelAdmin, request: HttpRequest, step: Step) -> HttpResponse:
    draft = _opened(request, step)
    if draft is None:
        messages.error(request, "What was entered is too old, or not yours. Nothing was changed: enter it again.")
        return redirect(request.path)
    if "again" in request.POST:
        entered = {**draft.facts, "code": draft.code, "revision": draft.revision, "reason": draft.reason}
        entered["on_events"] = "\n".join(draft.facts.get("on_events", ()))
        return _form_page(admin, request, step, step.form(None, entered))
    try:
        return _finish(draft, request)
    except EffectChangedError as error:
        messages.warning(request, str(error))
        return _effect_page(admin, request, step, draft)
    except InventoryError as error:
        messages.error(request, str(error))
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
    return redirect(request.path)


def _finish(draft: Draft, request: HttpRequest) -> HttpResponse:
    """Raise the threat level at once, or ask for what takes votes; then lead to what came of it."""
    seen, actor, now = request.POST.get("digest", ""), actor_of(request), timezone.now()
    if draft.act == "threat" and not lowers(threat_level(), draft.facts):
        services.set_threat_level(
            changes=draft.facts, expected_revision=draft.revision, expected_changes=seen, actor=actor,
            reason=draft.reason, now=now,
        )  # fmt: skip
        messages.success(request, "Saved. The dates of the keys are those of the clauses as they are now.")
        return redirect("admin:inventory_policyclause_changelist")
    operation, parameters = _question(draft)
    asked = asking.ask(operation, parameters | {"seen": seen}, actor=actor, reason=draft.reason, now=now)
    messages.success(request, f"{asked.title}: asked. It is done once Security and DevOps have voted for it.")
    return redirect("admin:rotation_request_change", asked.pk)


def _question(draft: Draft) -> tuple[str, dict[str, Any]]:
    """Return the guarded operation that does what was entered, and its parameters."""
    which = {"clause": draft.pk, "revision": draft.revision}
    questions: dict[str, tuple[str, dict[str, Any]]] = {
        "register": ("clause.register", {"code": draft.code, "facts": dict(draft.facts)}),
        "edit": ("clause.edit", which | {"changes": dict(draft.facts)}),
        "retire": ("clause.retire", which),
        "threat": ("threat_level.lower", {"revision": draft.revision, "changes": dict(draft.facts)}),
    }
    return questions[draft.act]


def _opened(request: HttpRequest, step: Step) -> Draft | None:
    """Return what this very person entered on this very page within the last hour."""
    try:
        draft = Draft(**signing.loads(request.POST["draft"], salt=SALT, max_age=DRAFT_LIFETIME))
    except (signing.BadSignature, TypeError):
        return None
    expected = (step.act, step.clause.pk if step.clause else None, request.user.pk)
    return draft if (draft.act, draft.pk, draft.user) == expected else None


def _effect_page(admin: ModelAdmin, request: HttpRequest, step: Step, draft: Draft) -> HttpResponse:
    """Show what the draft would do. Raises: ValidationError when it could not be saved."""
    proposed = _proposal(draft, step.clause)
    proposed.full_clean()
    now = timezone.now()
    if isinstance(proposed, ThreatLevel):
        effect = simulate(threat=proposed, now=now)
    else:
        effect = simulate(clause=proposed, now=now)
    takes_votes = draft.act != "threat" or lowers(threat_level(), draft.facts)
    before = {name: getattr(step.clause, name) if step.clause else step.initial.get(name) for name in draft.facts}
    context = {
        "title": step.title,
        "step": step,
        "effect": effect,
        "lines": changed_lines(before, draft.facts),
        "is_new": draft.act == "register",
        "draft": draft,
        "verb": verb_of(effect, "Ask" if takes_votes else "Save"),
        "takes_votes": takes_votes,
        "findings": _findings(effect.findings),
        "turned": turned_words(effect.findings.opens, effect.findings.closes),
        "takes_long": effect.changed > KEYS_AT_ONCE,
        "samples": [
            ("Become overdue", effect.samples["become_late"], effect.shares.become_late),
            ("Are overdue no more", effect.samples["late_no_more"], effect.shares.late_no_more),
            ("Become due within 30 days", effect.samples["become_due_soon"], effect.shares.become_due_soon),
        ],
    }
    return _render(admin, request, "effect", context)


def _findings(effect: FindingsEffect) -> list[dict[str, Any]]:
    """Return the rows of the table of findings."""
    return [
        {
            "title": one.definition.title,
            "chip": severity_chip(one.definition.severity),
            "opens": one.opens,
            "closes": one.closes,
            "opened": named(one.opened, one.opens),
            "closed": named(one.closed, one.closes),
        }
        for one in effect.by_code
    ]


def _proposal(draft: Draft, clause: PolicyClause | None) -> PolicyClause | ThreatLevel:
    """Return the clause, or the threat level, as the draft would have it; not saved."""
    proposed: PolicyClause | ThreatLevel = PolicyClause(code=draft.code)
    if draft.act == "threat":
        proposed = threat_level()
    elif clause is not None:
        proposed = PolicyClause.objects.get(pk=clause.pk)
        proposed.is_in_force = draft.act != "retire"
    for name, said in draft.facts.items():
        setattr(proposed, name, said)
    return proposed


def _form_page(admin: ModelAdmin, request: HttpRequest, step: Step, form: Any) -> HttpResponse:  # noqa: ANN401 - a form
    context: dict[str, Any] = {"title": step.title, "step": step, "form": form}
    if step.act == "threat":
        level = threat_level()
        context["history"] = history(timeline(level.ref, limit=HISTORY_LENGTH), level.ref)
    return _render(admin, request, "form", context)


def _show(form: Any, error: ValidationError) -> None:  # noqa: ANN401 - a form
    """Put what the model says beside the fields it names; the rest above them."""
    for name, sentences in error.message_dict.items():
        form.add_error(name if name in form.fields else None, sentences)


def _may_change(request: HttpRequest) -> bool:
    return request.user.has_perm("inventory.change_policyclause")


def _render(admin: ModelAdmin, request: HttpRequest, name: str, context: Mapping[str, Any]) -> HttpResponse:
    shared = {**admin.admin_site.each_context(request), "opts": admin.opts}
    return TemplateResponse(request, f"admin/inventory/policyclause/{name}.html", {**shared, **context})
