"""What is wrong with a public key or certificate itself: stored when it comes in, open until it is replaced."""

from datetime import UTC, date, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.db import transaction

from inventory import services
from inventory.material import MaterialError
from inventory.models import Finding, Key, KeyVersion
from tests.deciding import IMPORTER, approve
from tests.inventory.certificates import certificate, small_key
from tests.inventory.test_held import report
from tests.inventory.test_imports import bring, plan
from tests.inventory.test_weaknesses import RSA_SHA256, SHA1, ec_key, good_modulus, prime, signed_with
from tests.inventory.test_weaknesses import certificate as certified
from tests.inventory.world import ACTOR, NOW, actions_since, events_of, last_number, make_key, seal

pytestmark = pytest.mark.django_db
OF_MATERIAL = {"modulus-small", "exponent-small", "shared-factor", "certificate-expired"}


def open_codes(name=""):
    found = Finding.objects.filter(closed_at__isnull=True, key__name__startswith=name)
    return sorted(code for code in found.values_list("code", flat=True) if code in OF_MATERIAL)


def public_pem(n, e=65537):
    return public_half(rsa.RSAPublicNumbers(e, n))


def public_half(pair):
    return pair.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def review(now=NOW):
    services.review_findings(after=0, actor=ACTOR, now=now)


def current(name=""):
    return KeyVersion.objects.filter(key__name__startswith=name).order_by("-number")[0]


def test_a_weak_key_opens_findings_that_the_review_keeps_and_a_rotation_closes(bob, carol):
    content = certificate("small.example", key=small_key())
    planned = plan(content)
    bring(content)
    assert open_codes() == ["modulus-small"]
    assert planned.findings == Finding.objects.filter(closed_at__isnull=True).count()
    seal()
    assert "modulus-small" in events_of("finding.opened")[0].said.subjects[0].after["findings"]
    finding = Finding.objects.get(code="modulus-small")
    assert (finding.severity, finding.clause) == (2, "SP 800-131A Rev. 2 §3; FIPS 186-5 §5.1")
    review()
    assert open_codes() == ["modulus-small"]
    assert approve(report(Key.objects.get(), carol), bob, now=NOW).state == "executed"
    assert (open_codes(), current().weaknesses, current().expires_on) == ([], [], None)


def test_every_key_of_a_file_is_looked_at_and_they_are_compared():
    content = public_pem(good_modulus(1), 3) + public_pem(prime(2) * prime(3)) + public_pem(prime(2) * prime(4))
    bring(content)
    assert open_codes() == ["exponent-small", "shared-factor", "shared-factor"]


def test_what_two_keys_share_stays_true_when_one_of_them_comes_again():
    both = [public_pem(prime(2) * prime(3)), public_pem(prime(2) * prime(4))]
    bring(b"".join(both))
    number = last_number()
    assert bring(both[0]).summary == "0 new, 0 changed, 1 unchanged, 0 refused"
    seal()
    assert actions_since(number)[-1] == "inventory.imported"
    assert open_codes() == ["shared-factor", "shared-factor"]


def test_a_certificate_that_ends_is_found_by_the_night():
    ends = NOW + timedelta(days=1)
    bring(certificate("one.example", ends=ends))
    assert (open_codes(), current().expires_on) == ([], ends.date())
    review(NOW + timedelta(days=1))
    assert open_codes() == []
    review(NOW + timedelta(days=2))
    assert open_codes() == ["certificate-expired"]
    assert Finding.objects.get(code="certificate-expired").facts == {"ended": "22 November 2026"}


def test_the_same_file_again_judges_keys_that_came_before_this_was_kept(as_role):
    content = certificate("small.example", key=small_key(), ends=NOW - timedelta(days=1))
    bring(content)
    KeyVersion.objects.update(weaknesses=[], expires_on=None)
    review()
    assert open_codes() == []
    seal()
    number, shown = last_number(), plan(content)
    with as_role("worker"):
        done = bring(content, expected_digest=shown.digest)
    assert done.summary == "0 new, 0 changed, 1 unchanged, 0 refused"
    seal()
    assert actions_since(number) == ["key.material_judged", "inventory.imported"]
    assert events_of("inventory.imported")[-1].said.facts["judged_again"] == 1
    (subject,) = events_of("key.material_judged")[0].said.subjects
    assert (subject.ref, subject.label) == (Key.objects.get().ref, Key.objects.get().name)
    assert subject.before == {"weaknesses": [], "expires_on": None}
    assert subject.after == {"weaknesses": ["modulus-small"], "expires_on": "2026-11-20"}
    assert open_codes() == ["certificate-expired", "modulus-small"]


def test_a_bare_key_says_nothing_of_its_certificate():
    pair, ends = small_key(), NOW - timedelta(days=1)
    bring(certificate("small.example", key=pair, ends=ends))
    seal()
    (subject,) = events_of("key.imported")[0].said.subjects
    assert (subject.after["weaknesses"], subject.after["expires_on"]) == (["modulus-small"], ends.date().isoformat())
    KeyVersion.objects.update(weaknesses=["signature-sha1"])  # as if its key had come in before keys were looked at
    Key.objects.update(kind="signing_key")
    done = bring(public_half(pair))
    assert done.summary == "0 new, 0 changed, 1 unchanged, 0 refused"
    assert (current().weaknesses, current().expires_on) == (["modulus-small", "signature-sha1"], ends.date())
    assert open_codes() == ["certificate-expired", "modulus-small"]
    seal()
    (subject,) = events_of("key.material_judged")[0].said.subjects
    assert (subject.before, subject.after) == (
        {"weaknesses": ["signature-sha1"]}, {"weaknesses": ["modulus-small", "signature-sha1"]},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("record", "summary"),
    [
        ({"created_on": date(2025, 1, 10), "rotate_by": datetime(2025, 7, 1, tzinfo=UTC)}, "0 refused, 1 held"),
        ({"created_on": None, "last_rotated_on": date(2025, 1, 10)}, "1 refused"),
    ],
)
def test_a_row_that_stays_out_says_nothing_of_the_material(record, summary):
    content = certificate("small.example", key=small_key(), ends=NOW - timedelta(days=1))
    bring(content)
    KeyVersion.objects.update(weaknesses=[], expires_on=None)
    Key.objects.update(**record)
    seal()
    number = last_number()
    done = bring(content, actor=IMPORTER)
    assert done.summary == f"0 new, 0 changed, 0 unchanged, {summary}"
    assert (current().weaknesses, current().expires_on) == ([], None)
    seal()
    assert "key.material_judged" not in actions_since(number)
    assert "judged_again" not in events_of("inventory.imported")[-1].said.facts


def test_other_material_of_the_same_name_says_nothing_of_the_record():
    content = certificate("small.example", key=small_key())
    ((_, planned),) = plan(content).new
    bring(certificate("one.example"))
    Key.objects.update(name=planned.name)
    assert bring(content).summary.startswith("0 new")
    assert (current().weaknesses, open_codes()) == ([], [])


def test_a_registered_digest_judges_the_public_key():
    key = make_key(kind="ssh_key")
    how = {"pk": key.pk, "actor": ACTOR, "reason": "x", "now": NOW}
    services.register_material_digest(material=public_pem(good_modulus(1), 3), **how)
    assert open_codes() == ["exponent-small"]
    services.register_material_digest(material=public_pem(good_modulus(2)), **how)
    assert open_codes() == []


PAIR, ENDED = ec_key(ec.SECP256R1()), date(2026, 6, 1)


def signed(digest):
    """Return a certificate of PAIR that ended on ENDED, in PEM; it says that it is signed with this digest."""
    return signed_with(digest, certified(PAIR.public_key())).public_bytes(Encoding.PEM)


def give(key, material):
    services.register_material_digest(pk=key.pk, material=material, actor=ACTOR, reason="x", now=NOW)


def test_a_registered_certificate_is_judged_as_a_whole():
    key = make_key(kind="tls_certificate")
    give(key, signed(SHA1))
    assert (current().weaknesses, current().expires_on) == (["signature-sha1"], ENDED)
    assert open_codes() == ["certificate-expired"]
    seal()
    (subject,) = events_of("key.digest_registered")[0].said.subjects
    assert subject.before == {"weaknesses": [], "expires_on": None}
    assert subject.after == {"weaknesses": ["signature-sha1"], "expires_on": "2026-06-01"}
    give(key, public_half(PAIR))
    assert (current().weaknesses, current().expires_on) == (["signature-sha1"], ENDED)
    give(key, public_pem(good_modulus(2)))
    assert (current().weaknesses, current().expires_on, open_codes()) == ([], None, [])


def test_a_certificate_stays_judged_under_a_new_digest_key(settings):
    key = make_key(kind="tls_certificate")
    give(key, signed(SHA1))
    settings.DIGEST_KEYS_PREVIOUS, settings.DIGEST_KEY = (settings.DIGEST_KEY,), bytes(32)
    give(key, public_half(PAIR))
    assert (current().weaknesses, current().expires_on) == (["signature-sha1"], ENDED)


def test_a_certificate_that_cannot_be_read_in_full_is_refused():
    key = make_key(kind="tls_certificate")
    with pytest.raises(MaterialError, match="Enter its public key instead"), transaction.atomic():
        give(key, signed(RSA_SHA256[:-1] + b"\x7e"))
    assert current().reuse_digest is None
