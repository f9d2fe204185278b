"""A source is looked at before it is believed: where it is, who answers, what is in it, and what our login may do."""

import socket
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from inventory.models import Kek
from rotation.sources import look
from rotation.sources.connecting import conninfo_of, reading
from rotation.sources.errors import (
    BadNameError,
    NotAllowedPlaceError,
    SecretFileError,
    UnlikeError,
    UnreachableError,
)
from rotation.sources.places import place_of
from tests.rotation.sources.elsewhere import source_of


@pytest.fixture
def kek():
    """A look asks no key store, and nothing of our own database."""
    return Kek(uri="local:house/kek", algorithm="AES-256-KW")


def test_look_finds_what_was_registered(other, kek):
    look(source_of(other, kek))


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("table", 'public.data_keys"; DROP TABLE data_keys; --'),
        ("table", "data_keys"),
        ("table", "public.data_keys t JOIN pg_shadow"),
        ("table", "public."),
        ("table", "a.b.c"),
        ("id_column", "id); DELETE FROM data_keys; --"),
        ("id_column", ""),
        ("wrapped_column", "wrapped'"),
        ("wrapped_column", "ｗrapped"),  # noqa: RUF001 - that is the matter
        ("version_column", "kek_version\x00"),
        ("version_column", "1 OR 1=1"),
        ("context_column", "a b"),
        ("binding_column", "wrapped"),
        ("binding_column", "x" * 64),
        ("database", "x host=evil.example"),
        ("database", "postgres://evil.example/x"),
        ("login", "a=b"),
    ],
)
def test_look_refuses_what_is_no_name(other, kek, field, name):
    if field == "database" and "=" not in name:  # no name of ours is taken apart by the driver
        with pytest.raises(UnreachableError, match="no database of that name"):
            look(source_of(other, kek, **{field: name}))
        return
    with pytest.raises(BadNameError):
        look(source_of(other, kek, **{field: name}))
    assert other.execute("SELECT count(*) FROM public.data_keys") == [(0,)]


@pytest.mark.parametrize(
    "host",
    [
        "db.example",
        "127.0.0.1,evil.example",
        "/var/run/postgresql",
        "@abstract",
        "2130706433",
        "127.1",
        "0x7f000001",
        "localhost",
        "127.0.0.1 ",
        "[::1]",
        "",
    ],
)
def test_only_hosts_of_the_settings_are_contacted(other, kek, host, settings):
    with pytest.raises(NotAllowedPlaceError):
        look(source_of(other, kek, host=host))


def test_a_host_may_be_named_with_its_port_alone(settings):
    settings.SOURCE_HOSTS = ["127.0.0.1:6000"]
    assert place_of("127.0.0.1", 6000).is_loopback
    with pytest.raises(NotAllowedPlaceError):
        place_of("127.0.0.1", 6001)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "224.0.0.1", "::", "::ffff:169.254.1.1", "fe80::1", "240.0.0.1"]
)
def test_a_name_that_leads_to_no_database_is_refused(monkeypatch, settings, address):
    settings.SOURCE_HOSTS = ["db.example"]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: [(2, 1, 6, "", (address, 5432))])
    with pytest.raises(NotAllowedPlaceError, match="no address of a database"):
        place_of("db.example", 5432)


def test_both_addresses_of_this_machine_are_its_own(monkeypatch, settings):
    settings.SOURCE_HOSTS = ["localhost"]
    both = [(10, 1, 6, "", ("::1", 5432, 0, 0)), (2, 1, 6, "", ("127.0.0.1", 5432))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: both)
    assert place_of("localhost", 5432).is_loopback


def asked(monkeypatch, source, address):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: [(2, 1, 6, "", (address, source.port))])
    return conninfo_to_dict(conninfo_of(source, place_of(source.host, source.port)))


@pytest.mark.parametrize("address", ["10.1.2.3", "127.0.0.1"])
def test_another_name_than_loopback_has_to_show_a_certificate(monkeypatch, other, kek, settings, tmp_path, address):
    """Also one that leads to this machine: names are for others to change."""
    settings.SOURCE_HOSTS = ["db.example"]
    bare = source_of(other, kek, host="db.example")
    with pytest.raises(SecretFileError, match="file of the CA"):
        asked(monkeypatch, bare, address)
    with pytest.raises(SecretFileError, match="not there"):
        asked(monkeypatch, source_of(other, kek, host="db.example", ca_file="/no/such.pem"), address)
    ca = tmp_path / "ca.pem"
    ca.write_text("")
    said = asked(monkeypatch, source_of(other, kek, host="db.example", ca_file=str(ca)), address)
    assert said["sslmode"] == "verify-full"
    assert said["sslrootcert"] == str(ca)
    assert said["gssencmode"] == said["sslcertmode"] == "disable"
    assert said["channel_binding"] == "require"
    assert (said["host"], said["hostaddr"]) == ("db.example", address)


def test_a_server_without_tls_is_refused_where_a_ca_is_named(other, kek, tmp_path):
    ca = tmp_path / "ca.pem"
    ca.write_text("")
    with pytest.raises(UnreachableError, match="no TLS"):
        look(source_of(other, kek, ca_file=str(ca)))


def test_the_session_has_its_limits(other, kek):
    with reading(source_of(other, kek)) as connection:
        shown = {
            name: connection.execute(f"SHOW {name}").fetchone()[0]
            for name in ("search_path", "statement_timeout", "lock_timeout", "row_security", "application_name")
        }
        assert connection.execute("SHOW transaction_read_only").fetchone() == ("on",)
    assert shown == {
        "search_path": "pg_catalog",
        "statement_timeout": "1min",
        "lock_timeout": "2s",
        "row_security": "off",
        "application_name": "keyvault-admin",
    }


@pytest.mark.parametrize(
    ("spoil", "because"),
    [
        (lambda path: path.chmod(0o644), "others cannot read"),
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_text("\n"), "holds no password"),
        (lambda path: path.write_text("x" * 5000), "holds no password"),
    ],
)
def test_the_password_lies_in_a_file_that_others_cannot_read(other, kek, spoil, because):
    spoil(Path(other.said["password_file"]))
    with pytest.raises(SecretFileError, match=because):
        look(source_of(other, kek))


@pytest.mark.parametrize("path", ["/etc/hostname", "payments", "{folder}/../../secret", "{folder}/link"])
def test_the_password_lies_in_the_folder_of_the_settings(other, kek, path):
    (Path(other.secrets) / "link").symlink_to("/etc/hostname")
    with pytest.raises(SecretFileError, match="must lie in"):
        look(source_of(other, kek, password_file=path.format(folder=other.secrets)))


def test_a_wrong_password_and_a_silent_server_are_told_in_words_of_ours(other, kek, settings):
    source = source_of(other, kek)
    Path(source.password_file).write_text("not the password")
    with pytest.raises(UnreachableError, match="refuses the login") as told:
        look(source)
    assert other.login not in str(told.value)
    assert told.value.transient
    with pytest.raises(UnreachableError, match="cannot be reached"):
        look(source_of(other, kek, port=1))


@pytest.mark.parametrize(
    ("statement", "because"),
    [
        ("ALTER TABLE public.data_keys RENAME COLUMN wrapped TO other", "no column wrapped"),
        ("ALTER TABLE public.data_keys ALTER wrapped TYPE text USING 'x'", "wrapped is of the type text"),
        ("ALTER TABLE public.data_keys ALTER kek_version TYPE numeric USING 1", "of the type numeric"),
        ("ALTER TABLE public.data_keys ALTER kek_version DROP NOT NULL", "may be NULL"),
        ("ALTER TABLE public.data_keys DROP CONSTRAINT data_keys_pkey", "no unique index"),
        ("ALTER TABLE public.data_keys ENABLE ROW LEVEL SECURITY", "row security"),
        ("DROP TABLE public.data_keys", "is no table"),
        (
            "ALTER TABLE public.data_keys RENAME TO r; CREATE VIEW public.data_keys AS SELECT * FROM public.r",
            "no table",
        ),
        ("REVOKE UPDATE (wrapped) ON public.data_keys FROM {login}", "may not UPDATE wrapped"),
        ("GRANT UPDATE (tenant) ON public.data_keys TO {login}", "more with the column tenant"),
        ("GRANT SELECT (tenant) ON public.data_keys TO {login}", "more with the column tenant"),
        ("GRANT UPDATE (id) ON public.data_keys TO {login}", "more with the column id"),
        ("GRANT DELETE ON public.data_keys TO {login}", "DELETE"),
        ("GRANT INSERT ON public.data_keys TO PUBLIC", "INSERT"),
        ("CREATE TABLE public.other (x int); GRANT SELECT ON public.other TO {login}", "other tables"),
        ("ALTER ROLE {login} SUPERUSER", "is a superuser"),
        ("ALTER ROLE {login} BYPASSRLS", "sees through row security"),
        ("ALTER ROLE {login} CREATEROLE", "may make roles"),
        ("GRANT pg_write_all_data TO {login}", "member of other roles"),
    ],
)
def test_look_refuses_what_is_otherwise(other, kek, statement, because):
    other.execute(statement.format(login=other.login))
    with pytest.raises(UnlikeError, match=because):
        look(source_of(other, kek))
