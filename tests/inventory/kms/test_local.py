"""The local key ring: a wrong key, altered and swapped files, links, crashes, and several processes at once."""

import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from cryptography.hazmat.primitives.serialization import load_der_private_key

from inventory.envelope import EnvelopeError, ciphertext_behind, head_of, kek_digest
from inventory.kms.base import ToOpen, ToWrap, VersionStatus, WrapAlgorithm, parse_address
from inventory.kms.errors import (
    AddressError,
    BackendError,
    DeniedError,
    KeyExistsError,
    NoSuchKeyError,
    NotUsableError,
    UnavailableError,
    WrongAnswerError,
)
from inventory.kms.local import LocalBackend
from inventory.kms.memory import new_material
from inventory.kms.ring import Ring

KW, RSA = WrapAlgorithm.AES_256_KW, WrapAlgorithm.RSA_2048_OAEP_256
MASTER = bytes(range(100, 132))
DEK = bytearray(range(32))


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    folder = tmp_path / "ring"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def opened(ring: Path) -> Iterator[Callable[..., LocalBackend]]:
    """Return a function that gives a new client of the ring."""
    clients = []

    def give(master_key: bytes | None = MASTER, path: Path = ring) -> LocalBackend:
        clients.append(LocalBackend(parse_address(f"local://{path}#house"), master_key=master_key))
        return clients[-1]

    yield give
    for client in clients:
        client.close()


@pytest.fixture
def store(opened: Callable[..., LocalBackend]) -> LocalBackend:
    """A ring with one KEK of two versions."""
    backend = opened()
    backend.create("main", KW)
    backend.rotate("main")
    return backend


def wrapped(store: LocalBackend, version: str = "1", key: str = "main") -> bytes:
    (blob,) = store.wrap(key, version, [ToWrap(dek=DEK, context=b"")])
    return blob


def opens(store: LocalBackend, blob: bytes, version: str = "1", key: str = "main") -> bool:
    return store.unwrap(key, version, [ToOpen(ciphertext=blob, context=b"")]) == [DEK]


def state(store: LocalBackend, version: str) -> VersionStatus:
    return store.describe("main").version(version).status


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# The address


@pytest.mark.parametrize(
    "address",
    [
        "local:///#house",
        "local://relative/path#house",
        "local:///var/../etc#house",
        "local:///var/./ring#house",
        "local:///var/ring/#house",
        "local:///var//ring#house",
        "local:///var/%2e%2e/etc#house",
        "local:///var/ring%00#house",
        "local:///var/ring?mode=777#house",
        "local:ring#house",
    ],
)
def test_addresses_that_are_no_whole_path_are_refused(address: str) -> None:
    with pytest.raises(AddressError):
        LocalBackend(parse_address(address), master_key=MASTER)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../main", "a/b", "a.b", "/etc", "-x", "_x", "a\0", "a b", "ü", "x" * 64]
)
def test_names_that_lead_elsewhere_are_refused(store: LocalBackend, ring: Path, name: str) -> None:
    before = sorted(ring.parent.rglob("*"))
    for ask in (
        lambda: store.describe(name),
        lambda: store.create(name, KW),
        lambda: store.rotate(name),
        lambda: store.purge(name, "1"),
        lambda: wrapped(store, key=name),
    ):
        with pytest.raises(AddressError):
            ask()
    assert sorted(ring.parent.rglob("*")) == before


@pytest.mark.parametrize("version", ["", "0", "3", "01", "../1", "1.key", "-1", "1\n"])
def test_versions_that_are_none_are_refused(store: LocalBackend, version: str) -> None:
    for act in (store.disable, store.enable, store.recover, store.purge):
        with pytest.raises(NoSuchKeyError):
            act("main", version)
    with pytest.raises(NoSuchKeyError):
        wrapped(store, version)


# What lies in the folder


def test_files_are_ours_alone_and_hold_no_key_in_clear(store: LocalBackend, ring: Path) -> None:
    store.create("other", RSA)
    known = store._ready  # what this process holds in clear
    wrapped(store), wrapped(store, key="other")
    materials = [known["main", "1"]._material, known["other", "1"]._private.private_numbers().p.to_bytes(128, "big")]
    files = [path for path in ring.rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(ring)) for path in files) == [
        "main/1.key", "main/2.key", "main/state", "other/1.key", "other/state", "ring.id", "ring.lock",
    ]  # fmt: skip
    for path in files:
        assert path.stat().st_mode & 0o777 == 0o600
        content = path.read_bytes()
        assert not any(secret in content for secret in (*materials, MASTER, b"AES-256-KW", b"RSA-2048"))
    assert {path.stat().st_mode & 0o777 for path in ring.rglob("*") if path.is_dir()} == {0o700}


def test_a_missing_master_key_is_said(opened: Callable[..., LocalBackend], store: LocalBackend) -> None:
    for key in (None, b"", bytes(31)):
        with pytest.raises(DeniedError, match="holds no master key"):
            opened(key).describe("main")
        with pytest.raises(DeniedError, match="holds no master key"):
            opened(key).create("new", KW)


def test_a_wrong_master_key_is_told_from_an_altered_file(
    opened: Callable[..., LocalBackend], store: LocalBackend, ring: Path
) -> None:
    before = {path: path.read_bytes() for path in ring.rglob("*") if path.is_file()}
    stranger = opened(bytes(32))
    for ask in (lambda: stranger.describe("main"), lambda: stranger.create("new", KW), lambda: stranger.rotate("main")):
        with pytest.raises(DeniedError, match="does not open the key ring house"):
            ask()
    assert {path: path.read_bytes() for path in ring.rglob("*") if path.is_file()} == before


def test_each_flipped_byte_of_each_file_is_refused(
    opened: Callable[..., LocalBackend], store: LocalBackend, ring: Path
) -> None:
    blob = wrapped(store)
    for path in (ring / "ring.id", ring / "main" / "state", ring / "main" / "1.key"):
        whole = path.read_bytes()
        for place in range(len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises((DeniedError, WrongAnswerError)):
                opens(opened(), blob)
        for other in (b"", whole[:-1], whole + b"\0", bytes(2 * 1024 * 1024)):
            path.write_bytes(other)
            with pytest.raises((DeniedError, WrongAnswerError)):
                opens(opened(), blob)
        path.write_bytes(whole)
    assert opens(opened(), blob)


def test_an_altered_state_is_noticed_by_who_has_read_it_before(store: LocalBackend, ring: Path) -> None:
    blob = wrapped(store)
    path = ring / "main" / "state"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(WrongAnswerError, match="was altered, or belongs elsewhere"):
        opens(store, blob)


def test_swapped_files_are_refused(opened: Callable[..., LocalBackend], store: LocalBackend, ring: Path) -> None:
    store.create("other", KW)
    blob = wrapped(store)
    for one, other in (("main/1.key", "main/2.key"), ("main/1.key", "other/1.key"), ("main/state", "other/state")):
        contents = (ring / one).read_bytes(), (ring / other).read_bytes()
        for path, content in ((one, contents[1]), (other, contents[0])):
            (ring / path).write_bytes(content)
        with pytest.raises(WrongAnswerError, match="belongs elsewhere"):
            opens(opened(), blob)
        for path, content in ((one, contents[0]), (other, contents[1])):
            (ring / path).write_bytes(content)
    assert opens(opened(), blob)


def test_files_of_another_ring_under_the_same_master_key_are_refused(
    opened: Callable[..., LocalBackend], store: LocalBackend, ring: Path, tmp_path: Path
) -> None:
    second = tmp_path / "second"
    second.mkdir(mode=0o700)
    other = opened(path=second)
    other.create("main", KW)
    shutil.copy(ring / "main" / "1.key", second / "main" / "1.key")
    with pytest.raises(WrongAnswerError):
        wrapped(other)
    shutil.rmtree(second / "main")
    shutil.copytree(ring / "main", second / "main")
    with pytest.raises(WrongAnswerError):
        opened(path=second).describe("main")


def test_a_ring_that_lost_its_id_is_not_made_anew(
    opened: Callable[..., LocalBackend], store: LocalBackend, ring: Path
) -> None:
    (ring / "ring.id").unlink()
    for ask in (lambda: opened().describe("main"), lambda: opened().create("new", KW)):
        with pytest.raises(WrongAnswerError, match=r"lost its file ring\.id"):
            ask()
    assert not (ring / "ring.id").exists()


def test_a_folder_that_is_not_there_is_not_made(opened: Callable[..., LocalBackend], tmp_path: Path) -> None:
    for ask in (
        lambda: opened(path=tmp_path / "none").describe("main"),
        lambda: opened(path=tmp_path / "none").create("a", KW),
    ):
        with pytest.raises(UnavailableError, match="is not there"):
            ask()
    assert not (tmp_path / "none").exists()


def test_a_missing_file_of_a_version_is_said(
    opened: Callable[..., LocalBackend], store: LocalBackend, ring: Path
) -> None:
    (ring / "main" / "1.key").unlink()
    with pytest.raises(UnavailableError, match="a file of it is missing"):
        wrapped(opened())


PLACES = [".", "main", "main/state", "main/1.key", "ring.id", "ring.lock"]


def refuse_the_place(store: LocalBackend, name: str) -> None:
    """Whoever reads looks at every place but the lock, whoever writes at that too."""
    with pytest.raises(AddressError):
        store.rotate("main") if name == "ring.lock" else wrapped(store)


@pytest.mark.parametrize("name", PLACES)
def test_links_are_not_followed(
    opened: Callable[..., LocalBackend], store: LocalBackend, ring: Path, tmp_path: Path, name: str
) -> None:
    place, moved = ring / name, tmp_path / "moved"
    place.rename(moved)
    place.symlink_to(moved, target_is_directory=moved.is_dir())
    refuse_the_place(opened(), name)


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("mode", [0o040, 0o004, 0o020, 0o077])
def test_what_others_may_read_or_write_is_not_used(
    opened: Callable[..., LocalBackend], store: LocalBackend, ring: Path, name: str, mode: int
) -> None:
    place = ring / name
    place.chmod(place.stat().st_mode & 0o777 | mode)
    refuse_the_place(opened(), name)


def test_a_pipe_in_place_of_a_file_keeps_nobody_waiting(
    opened: Callable[..., LocalBackend], store: LocalBackend, ring: Path
) -> None:
    (ring / "main" / "1.key").unlink()
    os.mkfifo(ring / "main" / "1.key", 0o600)
    with pytest.raises(AddressError, match="neither a folder nor a plain file"):
        wrapped(opened())


# The life of a version


def test_ids_are_never_used_again(store: LocalBackend) -> None:
    for number in (3, 4):
        store.purge("main", store.describe("main").newest)
        store.rotate("main")
        assert store.describe("main").newest == str(number)
    assert [(it.id, it.status) for it in store.describe("main").versions] == [
        ("1", VersionStatus.ENABLED),
        ("2", VersionStatus.GONE),
        ("3", VersionStatus.GONE),
        ("4", VersionStatus.ENABLED),
    ]
    with pytest.raises(KeyExistsError):
        store.create("main", KW)


def test_purging_removes_the_file_and_dates_the_tombstone(store: LocalBackend, ring: Path) -> None:
    before = datetime.now(UTC)
    store.purge("main", "1")
    found = store.describe("main").version("1")
    assert found.status is VersionStatus.GONE
    assert before <= found.gone_at <= datetime.now(UTC)
    assert names(ring / "main") == ["2.key", "state"]
    store.purge("main", "1")
    assert store.describe("main").version("1") == found
    for act in (store.disable, store.enable, store.recover):
        with pytest.raises(NoSuchKeyError, match="was destroyed"):
            act("main", "1")


def test_purging_overwrites_what_the_file_held(store: LocalBackend, ring: Path) -> None:
    path = ring / "main" / "1.key"
    content = path.read_bytes()
    with path.open("rb") as still_open:  # as a backup program might have it
        store.purge("main", "1")
        assert not path.exists()
        left = still_open.read()
    assert len(left) == len(content)
    assert left != content
    assert left[12:44] != content[12:44]


def test_what_is_due_is_destroyed_by_whoever_looks(
    store: LocalBackend, opened: Callable[..., LocalBackend], ring: Path
) -> None:
    blob = wrapped(store)
    gone_at = store.schedule_destruction("main", "1", days=7)
    with time_machine.travel(gone_at - timedelta(seconds=5), tick=False):
        assert state(store, "1") is VersionStatus.SCHEDULED
        with pytest.raises(NotUsableError, match="scheduled for destruction"):
            opens(store, blob)
        with pytest.raises(NotUsableError, match="Recover it first"):
            store.enable("main", "1")
        assert (ring / "main" / "1.key").exists()
    with time_machine.travel(gone_at, tick=False):
        for act in (store.recover, store.enable):  # too late
            with pytest.raises(NoSuchKeyError):
                act("main", "1")
        assert state(opened(), "1") is VersionStatus.GONE
        assert not (ring / "main" / "1.key").exists()
    assert state(store, "1") is VersionStatus.GONE  # a clock set back brings nothing back


def test_recovered_versions_are_disabled_until_somebody_enables_them(store: LocalBackend) -> None:
    blob = wrapped(store)
    store.schedule_destruction("main", "1", days=90)
    store.disable("main", "1")
    assert state(store, "1") is VersionStatus.SCHEDULED
    store.recover("main", "1")
    assert state(store, "1") is VersionStatus.DISABLED
    assert store.describe("main").version("1").gone_at is None
    with pytest.raises(NotUsableError, match="disabled"):
        opens(store, blob)
    store.enable("main", "1")
    store.recover("main", "1")
    assert opens(store, blob)


def test_scheduling_again_moves_no_date(store: LocalBackend) -> None:
    first = store.schedule_destruction("main", "1", days=30)
    assert store.schedule_destruction("main", "1", days=7) == first


def test_a_version_that_another_process_destroyed_is_dropped_from_memory(
    store: LocalBackend, opened: Callable[..., LocalBackend]
) -> None:
    blob = wrapped(store)
    opened().disable("main", "1")
    with pytest.raises(NotUsableError):
        opens(store, blob)
    assert ("main", "1") not in store._ready


# Crashes


def test_what_a_crash_left_before_the_state_was_written_is_no_version(store: LocalBackend, ring: Path) -> None:
    """rotate() died after the material; and another time in the middle of a file."""
    (ring / "main" / "3.key").write_bytes(b"half")
    (ring / "main" / ".state.new").write_bytes(b"half")
    (ring / "main" / ".3.key.new").write_bytes(b"half")
    assert store.describe("main").newest == "2"
    store.rotate("main")
    assert store.describe("main").newest == "3"
    assert opens(store, wrapped(store, "3"), "3")
    assert names(ring / "main") == ["1.key", "2.key", "3.key", "state"]


def test_a_kek_whose_creation_died_is_none_and_can_be_created(store: LocalBackend, ring: Path) -> None:
    (ring / "half").mkdir(mode=0o700)
    with pytest.raises(NoSuchKeyError):
        store.describe("half")
    store.create("half", KW)
    assert opens(store, wrapped(store, key="half"), key="half")


def test_a_purge_that_died_after_its_tombstone_is_finished(
    store: LocalBackend, opened: Callable[..., LocalBackend], ring: Path
) -> None:
    content = (ring / "main" / "1.key").read_bytes()
    store.purge("main", "1")
    (ring / "main" / "1.key").write_bytes(content)
    (ring / "main" / "1.key").chmod(0o600)
    assert state(opened(), "1") is VersionStatus.GONE
    assert not (ring / "main" / "1.key").exists()


# Several processes


def _rotate(path: str, times: int) -> None:
    store = LocalBackend(parse_address(f"local://{path}#house"), master_key=MASTER)
    for _ in range(times):
        store.rotate("main")


def test_processes_that_rotate_at_once_lose_no_version(store: LocalBackend, ring: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_rotate, args=(str(ring), 10)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    versions = [version.id for version in store.describe("main").versions]
    assert versions == [str(number) for number in range(1, 33)]
    assert all(opens(store, wrapped(store, version), version) for version in versions)


def test_a_lock_that_is_held_for_long_is_an_answer(
    store: LocalBackend, ring: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inventory.kms.ring.LOCK_SECONDS", 0.2)
    with Ring(str(ring), "house", MASTER).changed():
        with pytest.raises(UnavailableError, match="Another process is at work"):
            store.rotate("main")
        assert opens(store, wrapped(store))  # who reads waits for nobody
    store.rotate("main")


# Another master key


def test_a_ring_is_sealed_anew_under_another_master_key(
    store: LocalBackend, opened: Callable[..., LocalBackend], ring: Path
) -> None:
    store.create("other", RSA)
    store.purge("main", "1")
    blobs = {("main", "2"): wrapped(store, "2"), ("other", "1"): wrapped(store, key="other")}
    before = [(ring / name).read_bytes() for name in ("main/2.key", "main/state", "other/1.key")]
    assert store.reseal(bytes(32)) == 4
    for client in (store, opened(bytes(32))):
        assert all(opens(client, blob, version, key) for (key, version), blob in blobs.items())
    with pytest.raises(DeniedError):
        opened().describe("main")
    assert all((ring / name).read_bytes() not in before for name in ("main/2.key", "main/state", "other/1.key"))


def test_sealing_anew_goes_on_after_a_crash(
    store: LocalBackend, opened: Callable[..., LocalBackend], ring: Path
) -> None:
    """It died after the first of two KEKs: part opens with the one key, part with the other."""
    store.create("other", KW)
    blobs = {key: wrapped(store, key=key) for key in ("main", "other")}
    old = {name: (ring / name).read_bytes() for name in ("ring.id", "other/state", "other/1.key")}
    store.reseal(bytes(32))
    for name, content in old.items():
        (ring / name).write_bytes(content)
    with pytest.raises(BackendError):
        opened().describe("main")
    again = opened()
    assert again.reseal(bytes(32)) == 5
    assert all(opens(again, blob, key=key) for key, blob in blobs.items())


# Memory and material


def test_an_rsa_key_is_loaded_once(store: LocalBackend) -> None:
    store.create("other", RSA)
    blob = wrapped(store, key="other")
    loaded = store._ready["other", "1"]
    assert opens(store, blob, key="other")
    assert store._ready["other", "1"] is loaded
    store.close()
    assert opens(store, blob, key="other")
    assert store._ready["other", "1"] is not loaded


@pytest.mark.parametrize("bits", [2048, 3072, 4096] if "tests.full" in sys.modules else [2048])
def test_new_rsa_keys_are_sound(bits: int) -> None:
    """Checked whole here, because loading from the ring skips it."""
    material = new_material(WrapAlgorithm(f"RSA-{bits}-OAEP-256"))
    numbers = load_der_private_key(material, password=None).private_numbers()
    assert (numbers.public_numbers.n.bit_length(), numbers.public_numbers.e) == (bits, 65537)
    assert abs(numbers.p - numbers.q).bit_length() > bits // 2 - 100  # FIPS 186-5 §A.1.3
    assert len({new_material(KW) for _ in range(50)}) == 50


@pytest.mark.parametrize("size", [0, 8, 15, 17, 33])
def test_what_aes_key_wrap_cannot_take_is_refused_alone(store: LocalBackend, size: int) -> None:
    from inventory.kms.errors import Refused

    items = [ToWrap(dek=bytes(size), context=b""), ToWrap(dek=DEK, context=b"")]
    refused, blob = store.wrap("main", "1", items)
    assert refused == Refused("refused")
    assert opens(store, blob)


def test_every_bit_of_a_wrapped_dek_counts(store: LocalBackend) -> None:
    """ENV-03: the head is compared with the row, the ciphertext is refused by the store."""
    head = head_of(KW, kek_digest("local:house/main"), "1")
    whole = head + wrapped(store)
    tried = 0
    for place in range(len(whole)):
        for bit in range(8):
            bent = whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :]
            tried += 1
            try:
                ciphertext = ciphertext_behind(head, bent)
            except EnvelopeError:
                assert place < len(head)
                continue
            assert not opens(store, ciphertext)
            assert place >= len(head)
    assert tried == (13 + 40) * 8
