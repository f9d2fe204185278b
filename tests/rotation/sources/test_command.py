"""`manage.py rewrap KEK --source NAME`: the rows of a source, without waiting for a rotation."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from inventory.models import Kek
from rotation.models import JobState, RewrapJob, RewrapSource
from tests.approving import as_worker, voters
from tests.rotation.sources.elsewhere import all_opened, fill, make_kek, registered, rotate


def run(*arguments):
    said = StringIO()
    call_command("rewrap", *arguments, stdout=said, stderr=StringIO())
    return said.getvalue()


def test_the_command_brings_over_what_a_source_has_under_an_old_version(other, ring, committed_db, settings):
    with as_worker():
        kek = make_kek()
        deks = fill(other, kek, "1", range(30))
        rotate(kek)
    registered(other, Kek.objects.get(), voters())
    settings.ROLE = "worker"
    with as_worker():
        with pytest.raises(CommandError, match="wraps no DEKs of a source elsewhere named billing"):
            run("kek/kek", "--source", "billing")
        with pytest.raises(CommandError, match="on its page"):
            run("kek/kek", "--source", "payments", "--dry-run")
        RewrapSource.objects.get()
        assert "30 of 30 DEKs (100 %)" in run("kek/kek", "--source", "payments")
        assert "30 of 30 DEKs" in run("kek/kek", "--source", "payments", "--status")
        with pytest.raises(CommandError, match="kek/kek was never re-wrapped"):
            run("kek/kek", "--status")
        assert RewrapJob.objects.get().state == JobState.DONE
    assert all_opened(other, kek) == deks
    assert other.execute("SELECT DISTINCT kek_version FROM data_keys") == [("2",)]
