"""Recovery codes: made, shown once, used once."""

from datetime import datetime

from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from audit.actions import Action
from audit.actor import Actor
from audit.canonical import JSON
from audit.sealing import keyed_digest, keyed_digests
from audit.services import record
from keyvault_admin.access import recovery, selectors
from keyvault_admin.access.models import RecoveryCode, RecoverySheet, User
from keyvault_admin.access.services.letters import tell_of_change
from keyvault_admin.access.services.pieces import locked, nobody, subject_of
from keyvault_admin.access.services.sessions import FACTORS_CHANGED, end_sessions

DIGEST_LABEL = "recovery-code"


@sensitive_variables("codes")
@transaction.atomic
def make_recovery_codes(*, person: User, keep: str = "", actor: Actor, now: datetime) -> list[str]:
    """Return ten new codes, to be shown once; the ones before are void. Locks the person. Event: recovery_code.made.

    Ends their sessions but the one with the key `keep`.

    Raises: InactiveError.
    """
    person = locked(person)
    sheet, codes = fill_sheet(person, now)
    end_sessions(person=person, reason=FACTORS_CHANGED, actor=actor, now=now, keep=keep)
    facts: dict[str, JSON] = {"sheet": sheet.ref, "codes": len(codes)}
    record(Action.RECOVERY_CODE_MADE, actor=actor, now=now, subjects=[subject_of(person)], facts=facts)
    tell_of_change(
        person,
        subject="Your recovery codes were made again",
        what="New recovery codes were made for your sign-in. The ones you had before do not work any more.",
        now=now,
    )
    return codes


@sensitive_variables()
def fill_sheet(person: User, now: datetime) -> tuple[RecoverySheet, list[str]]:
    """Void the person's codes and write new ones; the caller locks the person and records it."""
    sheet = RecoverySheet.objects.filter(user=person).first() or RecoverySheet(user=person)
    sheet.confirmed = True
    sheet.throttle_reset(commit=False)
    sheet.save()
    void_codes(sheet, now)
    codes = [recovery.draw() for _ in range(recovery.CODES)]
    RecoveryCode.objects.bulk_create(
        [
            RecoveryCode(sheet=sheet, code_digest=keyed_digest(_said(person, code), label=DIGEST_LABEL), made_at=now)
            for code in codes
        ]
    )
    return sheet, codes


def void_codes(sheet: RecoverySheet, now: datetime) -> None:
    """Make every unused code of the sheet useless."""
    sheet.codes.filter(used_at__isnull=True, voided_at__isnull=True).update(voided_at=now)


@sensitive_variables("code", "typed")
@transaction.atomic
def use_recovery_code(*, person: User, code: str, actor: Actor, now: datetime) -> RecoverySheet | None:
    """Return the sheet that held this code, which is used up now, else None; a wrong code is counted.

    Whatever is wrong, and for nobody, the statements are the same.
    Locks the sheet, so that one of many equal requests succeeds. Event: recovery_code.used.
    """
    sheet: RecoverySheet | None
    sheet = RecoverySheet.objects.select_for_update().filter(user=person, confirmed=True).first()
    is_looked_at = sheet is not None and sheet.verify_is_allowed()[0]
    usable = selectors.usable_codes(person if is_looked_at else nobody())
    digests = keyed_digests(_said(person, code), label=DIGEST_LABEL)
    is_right = usable.filter(code_digest__in=digests).update(used_at=now) == 1
    if sheet is None or not is_right:
        _refuse(sheet, is_looked_at=is_looked_at)
        return None
    sheet.accept(now)
    left = selectors.usable_codes(person).count()
    facts: dict[str, JSON] = {"sheet": sheet.ref, "left": left}
    record(Action.RECOVERY_CODE_USED, actor=actor, now=now, subjects=[subject_of(person)], facts=facts)
    tell_of_change(
        person,
        subject="A recovery code was used to sign in as you",
        what=f"One of your recovery codes was used in place of a code or passkey. {left} of them are left.",
        now=now,
    )
    return sheet


def _refuse(sheet: RecoverySheet | None, *, is_looked_at: bool) -> None:
    """Send one UPDATE, whether there is a sheet and whether its code was looked at or came too early."""
    if sheet is None:
        RecoverySheet.count_failure_of_nobody()
    elif is_looked_at:
        sheet.count_failure()
    else:
        sheet.keep_waiting()


@sensitive_variables()
def _said(person: User, code: str) -> bytes:
    """Return what is digested: the code bound to its person; what can be no code gives bytes that were never kept."""
    return f"{person.ref}\0{recovery.normal(code) or ''}".encode()
