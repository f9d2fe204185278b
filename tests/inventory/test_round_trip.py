"""What the inventory exports, it imports again without changing anything."""

import string
from datetime import date

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from inventory import services
from inventory.models import Integration, Key, Tenant, Vendor
from inventory.terms import Access, Classification, Environment, KeyKind, StorageMedium
from tests.inventory.test_imports import bring, file_of, row
from tests.inventory.world import ACTOR, NOW, actions_since, events_of, last_number, make_key, seal

pytestmark = pytest.mark.django_db
FORMATS = ("csv", "xlsx", "json")
HEADER = "Name,Type,Vendor,Tenant,Integration,Name of the secret,Shared,Exportable,Generation method,Medium,Runbook"
WORDS = st.text(string.ascii_lowercase + " -=+@;,'\"äß", min_size=1, max_size=20).map(str.strip).filter(str.isalnum)
FACTS = st.fixed_dictionaries({
    "kind": st.sampled_from([kind for kind in KeyKind if kind != KeyKind.DEK]),
    "environment": st.sampled_from(["", *Environment]),
    "classification": st.sampled_from(["", *Classification]),
    "access": st.sampled_from(["", *Access]),
    "created_on": st.one_of(st.none(), st.dates(date(2020, 1, 1), date(2022, 1, 1))),
    "last_rotated_on": st.one_of(st.none(), st.dates(date(2022, 1, 1), date(2026, 1, 1))),
    "is_shared": st.sampled_from([None, True, False]),
    "is_exportable": st.sampled_from([None, True, False]),
    "storage_medium": st.sampled_from(["", *StorageMedium]),
    "storage_location": st.sampled_from(["", "git of the platform", "vault, secret/a"]),
    "generation_method": st.sampled_from(["", "openssl rand"]),
    "algorithm": st.sampled_from(["", "AES-256-GCM", "RSA-3072"]),
    "secret_name": st.sampled_from(["", "db/root"]),
    "runbook_url": st.sampled_from(["", "https://wiki.example.org/rotate?a=b#c"]),
    "notes": st.sampled_from(["", "=1+1", "two\nlines", "'quoted"]),
})  # fmt: skip


def exported(file_format):
    return b"".join(
        services.export_keys(keys=Key.objects.all(), chosen={}, file_format=file_format, actor=ACTOR, now=NOW)
    )


@examples(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=FACTS, named=st.booleans())
def test_an_export_brings_nothing_new(db, said, named):
    number = Key.objects.count()
    if named:
        said = said | {
            "vendor": Vendor.objects.get_or_create(name="Acme & Söhne, Inc.")[0],
            "tenant": Tenant.objects.get_or_create(name="tenant one")[0],
            "integration": Integration.objects.get_or_create(name="crm")[0],
        }
    make_key(**({"name": f"key {number}"} | said))
    for file_format in FORMATS:
        plan = services.plan_import(content=exported(file_format), now=NOW)
        assert [(change.key.name, change.fields) for change in plan.changed] == []
        assert not plan.refused, plan.refused[0]
        assert plan.summary == f"0 new, 0 changed, {number + 1} unchanged, 0 refused"


def test_vendors_tenants_and_integrations_are_registered_with_the_file():
    number = last_number()
    content = (
        f"{HEADER}\n"
        "a,DEK,Acme,t1,crm,,no,yes,openssl rand,password manager,https://wiki.example.org/a\n"
        "b,DEK,Acme,t1,mail,,,,,,\n"
    )
    assert bring(content.encode()).summary == "2 new, 0 changed, 0 unchanged, 0 refused"
    key = Key.objects.get(name="a")
    assert (key.vendor.name, key.tenant.name, key.integration.name) == ("Acme", "t1", "crm")
    assert (key.is_shared, key.is_exportable, key.storage_medium) == (False, True, "password_manager")
    assert (key.generation_method, key.runbook_url) == ("openssl rand", "https://wiki.example.org/a")
    seal()
    assert actions_since(number) == [
        "vendor.registered", "tenant.registered", "integration.registered", "key.imported", "inventory.imported",
    ]  # fmt: skip
    assert events_of("vendor.registered")[0].said.subjects[0].label == "Acme"
    assert bring(content.encode()).summary == "0 new, 0 changed, 2 unchanged, 0 refused"


def test_a_second_dek_of_one_scope_is_refused_with_its_row():
    make_key(name="old", kind="dek", secret_name="db/root")
    content = f"{HEADER}\na,DEK,,,,db/root,,,,,\nb,DEK,,t,i,,,,,,\nc,DEK,,t,i,,,,,,\n"
    done = bring(content.encode())
    assert done.summary == "1 new, 0 changed, 0 unchanged, 2 refused"
    assert [(one.row, one.problem) for one in done.refused] == [
        (2, '"old" is the DEK for this secret already.'),
        (4, '"b" is the DEK for this tenant and integration already.'),
    ]


@pytest.mark.parametrize("said", ["javascript:alert(1)", "//x", "https://", "ftp://a.example/x", "wiki"])
def test_a_runbook_is_a_web_address(said):
    done = bring(f"Name,Type,Runbook\na,KEK,{said}\n".encode())
    assert [(one.field, one.row) for one in done.refused] == [("runbook_url", 2)]


def test_a_renamed_certificate_is_the_same_record_and_the_preview_says_so(client, alice, as_role):
    from tests.inventory.certificates import certificate
    from tests.inventory.working import brought
    from tests.people import sign_in

    content = certificate("one.example")
    bring(content)
    name = Key.objects.get().name
    Key.objects.update(name="edge certificate", notes="", algorithm="")
    plan = services.plan_import(content=content, now=NOW)
    assert plan.summary == "0 new, 1 changed, 0 unchanged, 0 refused"
    assert plan.changed[0].known_as == name
    sign_in(client, alice)
    taken = {"content": content, "file_name": "x.pem", "reason": "x", "person": alice.pk}
    draft = services.take_file(**taken, now=timezone.now())
    page = brought(client, as_role, f"/inventory/key/import/{draft.pk}/").content.decode()
    assert f"known by its material; the file calls it {name}" in page
    bring(content)
    assert Key.objects.get().name == "edge certificate"


def test_no_is_said_and_a_blank_says_nothing():
    make_key(name="a", is_shared=True, is_exportable=True)
    done = bring(file_of(row("a", Shared="no"), header="Name,Type,Shared,Exportable"))
    assert done.changed[0].fields == ("is_shared",)
    key = Key.objects.get()
    assert (key.is_shared, key.is_exportable) == (False, True)
