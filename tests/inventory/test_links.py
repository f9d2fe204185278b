"""Links that people enter lead to the web and nowhere else: refused at the form, by the service and by the database."""

from datetime import date

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from audit.actor import Actor
from inventory import services
from inventory.forms import KeyForm, RotationForm
from inventory.models import Key, RotationEvidence
from keyvault_admin.access.models import User
from tests.inventory.world import NOW, make_key

REFUSED = [
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "\x01javascript:alert(1)",
    "javascript://example.org/%0aalert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:msgbox(1)",
    "file:///etc/passwd", "ftp://example.org/", "//example.org/", "blob:https://example.org/x", "https:alert(1)",
    " javascript:alert(1)", "http://", "view-source:https://example.org/",
]  # fmt: skip


@pytest.mark.parametrize("link", REFUSED)
def test_forms_refuse_other_schemes(db: None, link: str) -> None:
    for form, name in ((KeyForm({"runbook_url": link}), "runbook_url"), (RotationForm({"url": link}), "url")):
        assert name in form.errors or form.cleaned_data[name].startswith("https://"), form.cleaned_data
    assert "runbook_url" not in KeyForm({"runbook_url": "https://example.org/runbook"}).errors


@pytest.mark.parametrize("link", REFUSED)
def test_services_refuse_other_schemes(alice: User, link: str) -> None:
    person = Actor(kind="person", id=alice.ref, role="Security")
    with pytest.raises(ValidationError):
        make_key(runbook_url=link)
    key = make_key(name="other")
    with pytest.raises(ValidationError), transaction.atomic():
        services.report_rotation(
            pk=key.pk, rotated_on=date(2026, 11, 20), evidence="ticket", url=link, actor=person, now=NOW
        )
    assert not RotationEvidence.objects.exists()


@pytest.mark.parametrize("link", ["javascript:alert(1)", "ftp://example.org/", "data:text/html,x", "\nhttps://x"])
def test_the_database_refuses_other_schemes(db: None, link: str) -> None:
    key = make_key(runbook_url="http://intranet.example/runbook")
    with pytest.raises(IntegrityError, match="key_runbook_is_a_web_link"), transaction.atomic():
        Key.objects.filter(pk=key.pk).update(runbook_url=link)
