"""`manage.py doctor`: on the engines of the run, on a bad environment, and where the settings do not even load."""

import json
import re
import subprocess
import sys
from base64 import b64encode
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings as configured
from django.core.management import CommandError, call_command
from pytest_django import Settings

from keyvault_admin.checks.report import EVERY_RULE
from tests.conftest import CommittedDatabase
from tests.engines import ROOT, run_values
from tests.keyvault_admin.test_headers import PRODUCTION, production

BAD = {
    "SECRET_KEY": "django-insecure-3f9a77c2b1",
    "KEYVAULT_SEALING_KEY": b64encode(bytes(32)).decode(),
    "KEYVAULT_DIGEST_KEY": b64encode(b"a pass phrase of exactly 32 byte").decode(),
    "KEYVAULT_DIGEST_KEYS_PREVIOUS": b64encode(bytes(32)).decode(),
    "DATABASE_URL": "postgres://postgres:db-Pa55word@localhost.invalid:1/keyvault?sslmode=require",
    "CELERY_BROKER_URL": "redis://localhost.invalid:1/0",
    "EMAIL_URL": "smtp://postman:mail-Pa55word@localhost.invalid:25",
    "ALLOWED_HOSTS": "*",
    "SITE_URL": "http://keys.example.org",
    "CSRF_TRUSTED_ORIGINS": "http://*.example.org",
    "TRUSTED_PROXIES": "0",
    "DEFAULT_FROM_EMAIL": "keyvault@localhost",
}
FULL = "tests.full" in sys.modules
WRONG = {
    *("face.E002", "face.E010", "face.E011", "face.E012", "face.E013", "face.E014", "face.E017", "face.E018"),
    *(
        "face.E030",
        "face.E031",
        "face.E032",
        "face.E033",
        "face.E034",
        "face.E040",
        "face.E041",
        "face.E042",
        "face.E043",
    ),
    *("face.E044", "face.E045", "face.E046", "face.E047", "face.E048", "face.E050", "face.E051", "face.E055"),
    *("face.W001", "face.W005", "face.W006", "face.W007", "face.W008", "face.W009"),
    *("face.W010", "face.W011", "face.W012", "face.W013", "face.W014"),  # what could not be seen is wrong
}
WARNED = {"face.W002", "face.W003", "face.W004", "security.W009"}


def doctor(committed_db: CommittedDatabase, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", "doctor", *words],
        cwd=ROOT,
        env=committed_db.environ(),
        capture_output=True,
        text=True,
        check=False,
    )


def secrets_of_the_run() -> list[str]:
    values = run_values()
    urls = [text for name, text in values.items() if "_URL" in name]
    passwords = re.findall(r":([^:/@]{12,})@", "\n".join(urls))
    return [values["SECRET_KEY"], values["KEYVAULT_SEALING_KEY"], values["KEYVAULT_DIGEST_KEY"], *passwords]


def test_on_the_embedded_engines_nothing_is_wrong_and_what_is_local_is_said(committed_db: CommittedDatabase) -> None:
    done = doctor(committed_db)
    assert (done.returncode, done.stderr) == (0, "")
    assert "on the embedded engines of this machine" in done.stdout
    assert done.stdout.count("(loopback)") >= 6
    assert "plain http is served to this machine alone (face.E001)" in done.stdout.replace("\n" + " " * 21, " ")
    assert re.search(r"^0 wrong, 1 to be warned of, \d+ in order, 0 not looked at\.$", done.stdout, re.MULTILINE)
    assert re.search(r"^  warning  face\.W007 .*\n(?: {21}.*\n)* {21}Mend: Enrol more", done.stdout, re.MULTILINE)
    assert len(secrets_of_the_run()) >= 10
    assert [secret for secret in secrets_of_the_run() if secret in done.stdout] == []


def test_warnings_fail_when_it_is_strict(committed_db: CommittedDatabase) -> None:
    assert doctor(committed_db, "--strict").returncode == 1


def test_json_names_every_check_once(committed_db: CommittedDatabase) -> None:
    done = doctor(committed_db, "--json")
    found = json.loads(done.stdout)
    ids = [check["id"] for check in found["checks"]]
    assert (done.returncode, found["well"]) == (0, True)
    assert sorted(name for name in ids if name.startswith("face.")) == sorted(rule.id for rule in EVERY_RULE)
    assert sum(found["counts"].values()) == len(ids)


def test_what_is_skipped_is_said_and_not_asked(settings: Settings) -> None:
    settings.CELERY_BROKER_URL = "redis://:a-long-password-of-nobody@127.0.0.1:1/0"
    settings.ALLOWED_HOSTS = ["localhost"]  # the tests' client adds its own
    out = StringIO()
    call_command("doctor", "--json", "--skip=database", "--skip=broker", "--skip=mail", stdout=out)
    found = json.loads(out.getvalue())
    skipped = {check["id"] for check in found["checks"] if check["state"] == "skipped"}
    assert {"face.E040", "face.W001", "face.E050", "face.E055"} <= skipped
    assert found["counts"]["skipped"] == len(skipped) == 24


def test_a_bad_environment_is_told_in_full() -> None:
    done = production("manage.py", "doctor", "--json", **BAD)
    assert done.returncode == 1, done.stderr
    checks = json.loads(done.stdout)["checks"]
    assert {check["id"] for check in checks if check["state"] == "wrong"} == WRONG
    assert {check["id"] for check in checks if check["state"] == "warning"} == WARNED
    assert all(check["mend"] for check in checks if check["state"] in {"wrong", "warning"})
    for secret in (*BAD.values(), "db-Pa55word", "mail-Pa55word", "pass phrase", "3f9a77c2b1"):
        if secret not in {"*", "0", BAD["SITE_URL"], BAD["CSRF_TRUSTED_ORIGINS"], BAD["DEFAULT_FROM_EMAIL"]}:
            assert secret not in done.stdout + done.stderr


def test_check_deploy_tells_the_same_without_asking_a_server() -> None:
    done = production("manage.py", "check", "--deploy", **BAD)
    assert done.returncode == 1
    told = set(re.findall(r"face\.[EW]\d{3}", done.stderr))
    live = {
        rule.id
        for rule in EVERY_RULE
        if rule.id[5:] in {"E025", "E034", "W001", "W005", "W006", "W007", "W008", "W009", "W010"}
    }
    found = {name for name in WRONG | WARNED if name.startswith("face.") and name < "face.E040"}
    assert told == (found | {"face.W002", "face.W003", "face.W004"}) - live


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"KEYVAULT_SEALING_KEY": ""}, "KEYVAULT_SEALING_KEY is not set."),
        ({"KEYVAULT_DIGEST_KEY": b64encode(bytes(16)).decode()}, "KEYVAULT_DIGEST_KEY holds 128 bits instead of 256."),
        ({"KEYVAULT_ROLE": "signer"}, "KEYVAULT_SIGNING_KEY is not set."),
        ({"KEYVAULT_SIGNING_KEY": "half"}, "KEYVAULT_SIGNING_KEY is given to a process that is command."),
        ({"KEYVAULT_SIGNING_KEY_FILE": "/half"}, "KEYVAULT_SIGNING_KEY is given to a process that is command."),
        *(
            ({"KEYVAULT_ROLE": role, name: "half"}, f"KEYVAULT_MASTER_KEY is given to a process that is {role}.")
            for role in ("web", "beat", "command", "migrator")
            for name in ("KEYVAULT_MASTER_KEY", "KEYVAULT_MASTER_KEY_FILE")
        ),
        ({"KEYVAULT_ROLE": "worker", "KEYVAULT_KMS": "local:///half#house"}, "KEYVAULT_MASTER_KEY is not set."),
        (
            {"KEYVAULT_ROLE": "worker", "KEYVAULT_MASTER_KEY": "half"},
            "KEYVAULT_MASTER_KEY holds 24 bits instead of 256.",
        ),
        ({"KEYVAULT_KMS": "local:///half"}, "KEYVAULT_KMS cannot be used. Each key store needs a name"),
        (
            {"KEYVAULT_KMS": "vault://half/transit#main"},
            "KEYVAULT_KMS cannot be used. The key store main is of no kind",
        ),
        (
            {"KEYVAULT_KMS": "openbao://me:half@bao/transit#a"},
            "KEYVAULT_KMS cannot be used. The address of the key store a",
        ),
        (
            {"KEYVAULT_KMS": "local:///half#a local:///b#a"},
            "KEYVAULT_KMS cannot be used. Two key stores have the name a.",
        ),
        ({"KEYVAULT_CHECKPOINT_EVENTS": "0"}, "KEYVAULT_CHECKPOINT_EVENTS and KEYVAULT_CHECKPOINT_MINUTES must be"),
        ({"DATABASE_URL": "postgres://web:half/of-it@127.0.0.1:1/keyvault"}, "DATABASE_URL cannot be read as a URL."),
        ({"CELERY_BROKER_URL": "redis://:half/of-it@127.0.0.1:1/0"}, "CELERY_BROKER_URL cannot be read as a URL."),
        ({"EMAIL_URL": "smtp+tls://me:half/of-it@127.0.0.1:1"}, "EMAIL_URL cannot be read as a URL."),
    ],
)
def test_settings_that_stop_the_start_are_one_sentence(changed: dict[str, str], said: str) -> None:
    done = production("manage.py", "doctor", **changed)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(said)
    assert "half" not in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["--skip=people"], ["--yaml"], ["surplus"]])
def test_wrong_usage_ends_with_2(words: list[str]) -> None:
    done = production("manage.py", "doctor", *words)
    assert (done.returncode, done.stdout) == (2, "")
    with pytest.raises(CommandError):
        call_command("doctor", *words)


@pytest.mark.parametrize("role", ["web", "worker", "beat"] if FULL else ["web"])
def test_a_process_refuses_to_serve_with_an_open_broker(role: str) -> None:
    """JOB-07; `doctor` and other commands of a person go on, and say so."""
    open_broker = "redis://192.0.2.1:6379/0"
    load = "import django; django.setup()"
    done = production("-c", load, CELERY_BROKER_URL=open_broker, KEYVAULT_ROLE=role)
    assert done.returncode == 1
    assert "CELERY_BROKER_URL has no password" in done.stderr
    assert production("-c", load, CELERY_BROKER_URL=open_broker, KEYVAULT_ROLE="command").returncode == 0


def test_every_id_is_permanent_documented_and_given_once() -> None:
    ids = [rule.id for rule in EVERY_RULE]
    assert len(set(ids)) == len(ids)
    table = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `(face\.[EW]\d{3})` \|", table, re.MULTILINE)
    assert sorted(documented) == sorted(ids)


def test_the_demo_is_told_from_a_server_that_copied_its_secrets(tmp_path: Path) -> None:
    copied = {name: run_values()[name] for name in ("SECRET_KEY", "KEYVAULT_SEALING_KEY", "KEYVAULT_DIGEST_KEY")}
    done = production(
        *("manage.py", "doctor", "--json", "--skip=database", "--skip=broker", "--skip=mail"),
        **copied,
        KEYVAULT_LOCAL_ENV=str(configured.LOCAL_ENV),
    )
    wrong = [check["id"] for check in json.loads(done.stdout)["checks"] if check["state"] == "wrong"]
    assert (done.returncode, wrong) == (1, ["face.E015"])
    assert PRODUCTION["SECRET_KEY"] not in done.stdout
