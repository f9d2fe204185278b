"""One digest for each recipient, sent once, whatever fails on the way."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from smtplib import SMTPRecipientsRefused

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection

from audit.errors import AuditError
from inventory import services
from inventory.recognise import holds_key_material
from rotation import notifications
from rotation.models import Digest, DigestState, Notice
from rotation.overdue import flag_overdue
from tests.conftest import make_person
from tests.inventory.world import ACTOR, NOW, events_of, make_key, make_owner, seal

db = pytest.mark.django_db


class FlakyBackend(EmailBackend):
    """Refuses whatever is for somebody in `refused`, or fails with `error`; `during` happens while a mail is sent."""

    refused: frozenset = frozenset()
    error: Exception | None = None
    during = staticmethod(lambda message: None)

    def send_messages(self, messages):
        for message in messages:
            if FlakyBackend.error:
                raise FlakyBackend.error
            if set(message.to) & FlakyBackend.refused:
                raise SMTPRecipientsRefused({message.to[0]: (550, b"no such user: secret-token-in-an-answer")})
            FlakyBackend.during(message)
        return super().send_messages(messages)


@pytest.fixture
def flaky(settings, monkeypatch):
    settings.EMAIL_BACKEND = f"{__name__}.FlakyBackend"
    for name in ("refused", "error", "during"):
        monkeypatch.setattr(FlakyBackend, name, FlakyBackend.__dict__[name])
    return FlakyBackend


@pytest.fixture
def ann(any_db):
    return make_owner("ann", "ann@example.org")


def flag(now=NOW):
    return flag_overdue(actor=ACTOR, now=now)


def gather(now=NOW):
    return notifications.gather(now=now)


def deliver(now=NOW, **how):
    return notifications.deliver(actor=ACTOR, now=now, **how)


def run(now=NOW):
    flag(now)
    gather(now)
    return deliver(now)


# What a mail says


@db
def test_one_digest_for_each_recipient_with_everything_that_is_theirs(ann, settings):
    ben = make_owner("ben", "ben@example.org")
    service = services.register_service(name="billing", actor=ACTOR, now=NOW)
    key = make_key(owner=ann, service=service)
    make_key(name="second", owner=ann, last_rotated_on=date(2026, 9, 1))
    make_key(name="his", owner=ben)
    assert run() == 2
    assert [message.to for message in mail.outbox] in (
        [["ann@example.org"], ["ben@example.org"]],
        [["ben@example.org"], ["ann@example.org"]],
    )
    (message,) = [message for message in mail.outbox if message.to == ["ann@example.org"]]
    digest = Digest.objects.get(recipient="ann@example.org")
    assert message.subject == "Rotate your keys: 1 overdue, 1 due soon"
    assert message.extra_headers["Message-ID"] == notifications.message_id(digest)
    assert message.message()["Message-ID"].startswith(f"<{digest.pk}@")
    assert message.message()["Auto-Submitted"] == "auto-generated"
    text, (html, kind) = message.body, message.alternatives[0]
    assert kind == "text/html"
    for part in (text, html):
        assert part.index("billing/stripe") < part.index("second")
        assert "was due on 11 October 2026" in part
        assert "41 days ago" in part
        assert "is due on 30 November 2026, in 9 days" in part
        assert "S4 Key Management: 90 days" in part
        assert f"{settings.SITE_URL}/inventory/key/{key.pk}/change/" in part
        assert "API token, billing" in part
        assert "Make a new key where it lives" in part
        assert "because you are the owner" in part
        assert "Security. Name one" not in part
        assert "his" not in part.replace("this", "").replace("This", "")
        assert not holds_key_material(part)
    assert text.index("OVERDUE") < text.index("DUE SOON") < text.index("WHAT TO DO")
    assert "<script" not in html


@db
def test_html_is_escaped_and_text_is_not(ann):
    make_key(name="<img src=x onerror=alert(1)> & co", owner=ann)
    run()
    message = mail.outbox[0]
    assert "* <img src=x onerror=alert(1)> & co (API token)" in message.body
    assert "<img" not in message.alternatives[0][0]
    assert "&lt;img src=x onerror=alert(1)&gt; &amp; co" in message.alternatives[0][0]


@db
def test_security_is_told_why_and_of_which(ann):
    make_person("alice", "Security")
    alice = make_owner("alice", "alice@example.org")
    make_key(name="nobody's")
    make_key(name="alice's", owner=alice)
    run()
    (message,) = mail.outbox
    assert message.subject == "Rotate your keys: 2 overdue"
    for part in (message.body, message.alternatives[0][0]):
        assert part.count("has no owner who could be told") == 1
        assert "because you are the owner" in part
        assert "Keys without an owner who could be told are told to Security." in part


@db
def test_one_mail_lists_a_hundred_keys_and_counts_the_rest(ann):
    rows = "\n".join(
        f"key {number:03},API token,ann,{'2020-01-01' if number < 90 else '2025-12-01'}" for number in range(130)
    )
    services.apply_import(
        content=f"Name,Type,Owner,Created\n{rows}".encode(), file_name="x.csv", actor=ACTOR, reason="x", now=NOW
    )
    run()
    (message,) = mail.outbox
    assert message.subject == "Rotate your keys: 90 overdue, 40 due soon"
    for part in (message.body, message.alternatives[0][0]):
        assert sum(part.count(f"key {number:03}") for number in range(130)) == 100
        assert "30 more" in part
    seal()
    (event,) = events_of("notice.delivered")
    assert len(event.said.subjects) == 130


@db
def test_a_key_that_crossed_two_thresholds_while_nobody_gathered_is_listed_once(ann):
    make_key(owner=ann)
    flag(NOW - timedelta(days=60))
    flag(NOW)
    assert Notice.objects.count() == 2
    gather()
    deliver()
    (message,) = mail.outbox
    assert message.body.count("billing/stripe") == 1
    assert message.subject == "Rotate your key: 1 overdue"
    assert not Notice.objects.filter(digest=None).exists()


# Once


@db
def test_three_runs_send_one_mail(ann):
    make_key(owner=ann)
    assert [run(), run(), run(NOW + timedelta(days=1))] == [1, 0, 0]
    assert len(mail.outbox) == 1
    digest = Digest.objects.get()
    assert (digest.state, digest.sent_at, digest.attempts) == (DigestState.SENT, NOW, 1)
    seal()
    (event,) = events_of("notice.delivered")
    assert event.said.facts == {"digest": str(digest.pk), "told": [ann.ref], "attempts": 1}
    assert "example.org" not in event.raw.decode()


@db
def test_a_mail_that_is_refused_is_tried_again_later_and_keeps_its_id(ann, flaky):
    make_key(owner=ann)
    flaky.refused = frozenset({"ann@example.org"})
    assert run() == 0
    digest = Digest.objects.get()
    assert (digest.state, digest.attempts, digest.next_attempt_at) == ("pending", 1, NOW + timedelta(minutes=2))
    assert digest.last_error == "SMTPRecipientsRefused at attempt 1"
    assert deliver(NOW + timedelta(minutes=1)) == 0
    assert Digest.objects.get().attempts == 1
    flaky.refused = frozenset()
    assert deliver(NOW + timedelta(minutes=2)) == 1
    assert mail.outbox[0].extra_headers["Message-ID"] == notifications.message_id(digest)
    digest.refresh_from_db()
    assert (digest.state, digest.last_error) == ("sent", "")


@db
def test_a_recipient_who_is_refused_keeps_nobody_else_waiting(ann, flaky):
    make_key(owner=make_owner("aaa", "aaa@example.org"))
    make_key(name="hers", owner=ann)
    flaky.refused = frozenset({"aaa@example.org"})
    assert run() == 1
    assert [message.to for message in mail.outbox] == [["ann@example.org"]]


@db
@pytest.mark.parametrize("error", [ConnectionRefusedError(111, "refused"), TimeoutError(), ValueError("bad header")])
def test_a_digest_is_given_up_after_twelve_attempts_with_an_event(ann, flaky, error):
    make_key(owner=ann)
    flaky.error = error
    flag()
    gather()
    now, pauses = NOW, []
    for attempt in range(1, 13):
        assert deliver(now) == 0
        digest = Digest.objects.get()
        assert digest.attempts == attempt
        pauses.append(digest.next_attempt_at - now)
        now = digest.next_attempt_at
    assert digest.state == DigestState.FAILED
    assert digest.last_error == f"{type(error).__name__} at attempt 12"
    assert pauses[:4] == [timedelta(minutes=minutes) for minutes in (2, 4, 8, 16)]
    assert max(pauses) == timedelta(hours=6)
    flaky.error = None
    assert deliver(now + timedelta(days=9)) == 0
    seal()
    (event,) = events_of("notice.failed")
    assert (event.said.outcome, event.said.facts["attempts"]) == ("failed", 12)
    assert not events_of("notice.delivered")


@db
def test_a_sender_that_dies_leaves_a_lease_that_runs_out(ann, flaky):
    """Between the server's "accepted" and our mark: one duplicate, under the same Message-ID."""
    make_key(owner=ann)
    flag()
    gather()
    digest = notifications._claim(NOW)
    notifications._message(digest).send()  # and here the worker is killed
    assert deliver(NOW + notifications.LEASE) == 0
    assert deliver(NOW + notifications.LEASE + timedelta(seconds=1)) == 1
    assert deliver(NOW + timedelta(days=1)) == 0
    assert len(mail.outbox) == 2
    assert len({message.extra_headers["Message-ID"] for message in mail.outbox}) == 1
    digest.refresh_from_db()
    assert (digest.state, digest.attempts) == ("sent", 2)


@db
def test_a_sender_whose_lease_ran_out_marks_nothing(ann):
    make_key(owner=ann)
    flag()
    gather()
    slow = notifications._claim(NOW)
    later = NOW + notifications.LEASE + timedelta(seconds=1)
    quick = notifications._claim(later)
    notifications._mark_failed(slow, "TimeoutError", ACTOR, later)
    assert Digest.objects.get().state == DigestState.SENDING
    notifications._mark_sent(slow, ACTOR, later)
    assert Digest.objects.get().state == DigestState.SENDING
    notifications._mark_sent(quick, ACTOR, later)
    assert Digest.objects.get().state == DigestState.SENT
    seal()
    assert len(events_of("notice.delivered")) == 1


@db
def test_a_digest_that_kills_its_senders_is_given_up(ann):
    make_key(owner=ann)
    flag()
    gather()
    now = NOW
    for _ in range(12):
        assert notifications._claim(now)
        now += notifications.LEASE + timedelta(seconds=1)
    assert deliver(now) == 0
    digest = Digest.objects.get()
    assert (digest.state, digest.last_error) == ("failed", "LeaseRanOut at attempt 13")
    assert not mail.outbox


@db
def test_a_mark_whose_event_cannot_be_written_does_not_stand(ann, as_owner):
    make_key(owner=ann)
    flag()
    gather()
    with as_owner(), connection.cursor() as cursor:
        cursor.execute("REVOKE EXECUTE ON FUNCTION audit_append FROM keyvault_app")
    with pytest.raises(AuditError):
        deliver()
    assert Digest.objects.get().state == DigestState.SENDING


@db
def test_deliver_sends_no_more_than_its_limit(ann):
    for number in range(3):
        make_key(name=f"key {number}", owner=make_owner(f"o{number}", f"o{number}@example.org"))
    flag()
    assert gather() == 3
    assert [deliver(limit=2), deliver(limit=2), deliver(limit=2)] == [2, 1, 0]


@db
def test_the_grants_of_the_worker_suffice_and_no_login_rewrites_a_mail(ann, as_role):
    make_key(owner=ann)
    make_key(name="nobody's")
    make_person("alice", "Security")
    with as_role("worker"):
        assert run() == 2
    from django.db import ProgrammingError, transaction

    rewriting = [f"UPDATE {column}" for column in ("rotation_digest SET text = 'x'",
                 "rotation_digest SET recipient = 'x'", "rotation_notice SET recipient = 'x'")]  # fmt: skip
    removing = ["DELETE FROM rotation_digest", "DELETE FROM rotation_notice"]
    for login in ("web", "worker", "beat", "signer", "command"):
        for statement in removing if login == "command" else rewriting + removing:  # the command erases people
            with as_role(login), pytest.raises(ProgrammingError), transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(statement)


@db
def test_logs_and_rows_hold_no_answer_of_the_server(ann, flaky, caplog):
    make_key(owner=ann)
    flaky.refused = frozenset({"ann@example.org"})
    run()
    assert "SMTPRecipientsRefused" in caplog.text
    assert "secret-token" not in caplog.text + Digest.objects.get().last_error
    assert "ann@example.org" not in caplog.text


# Races


def at_once(count, act):
    barrier = threading.Barrier(count)

    def one(_):
        try:
            barrier.wait()
            return act()
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def test_workers_at_once_compose_one_digest_and_send_it_once(committed_db, settings, flaky):
    sent = []
    flaky.during = staticmethod(sent.append)
    for number in range(6):
        make_key(name=f"key {number}", owner=make_owner(f"o{number}", f"o{number}@example.org"))
    flag()
    assert sum(at_once(3, gather)) == 6
    assert Digest.objects.count() == 6
    assert sum(at_once(3, deliver)) == 6
    assert sorted(message.to[0] for message in sent) == [f"o{number}@example.org" for number in range(6)]
    assert set(Digest.objects.values_list("state", "attempts")) == {("sent", 1)}
    assert len(events_of("notice.delivered")) == 6


def test_a_mail_is_sent_outside_any_transaction_and_under_a_lease_that_others_see(committed_db, flaky):
    make_key(owner=make_owner("ann", "ann@example.org"))
    flag()
    gather()
    seen = []

    def look(_):
        seen.append(connection.in_atomic_block)
        seen.extend(at_once(1, lambda: Digest.objects.get().state))

    flaky.during = staticmethod(look)
    assert deliver() == 1
    assert seen == [False, "sending"]
