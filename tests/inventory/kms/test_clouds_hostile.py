"""KMS-01 … 10 for Azure Key Vault and AWS KMS: the genuine clients, before servers that answer as none should.

Behind the stand-in are moto and our model of a vault. What is bent are the answers to openings, unless a test says
otherwise. Times are shortened through the manners.
"""

import json
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest
from azure.keyvault.keys._shared import http_challenge_cache

from inventory.kms.aws import AwsBackend
from inventory.kms.azure import AzureBackend
from inventory.kms.base import Backend, ToOpen, ToWrap, VersionStatus, WrapAlgorithm, parse_address
from inventory.kms.calls import Breaker, Caller, Clock, Manners
from inventory.kms.errors import (
    AddressError,
    BackendError,
    DeniedError,
    KeyExistsError,
    NoSuchKeyError,
    NotUsableError,
    Refused,
    UnavailableError,
    WrongAnswerError,
)
from tests.inventory.kms import standin
from tests.inventory.kms.azure_vault import CLIENT, PADDINGS, TENANT, Vault, error
from tests.inventory.kms.conftest import deks
from tests.inventory.kms.rig_aws import moto_server
from tests.inventory.kms.standin import HOST, Behaviour, Exchange, Reply, Request, StandIn, bends, certificates, says

CONTEXT = b"c" * 32
SECRET = "a-secret-that-nobody-may-see-anywhere"
FULL = "tests.full" in sys.modules
LONGER = {"aws": 0.15, "azure": 0.4}  # seconds of an attempt that is waited for: Azure's has a sign-in in it


@dataclass
class Ticking:
    """A clock that waits at once, and remembers how long it was asked to."""

    now: float = 1000.0

    def __post_init__(self) -> None:
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def clock(self) -> Clock:
        return Clock(monotonic=lambda: self.now, wall=time.time, sleep=self.sleep)


def manners(**changes: float) -> Manners:
    quick = {"connect": 1.0, "attempt": 3.0, "call": 20.0, "first_wait": 0.001, "longest_wait": 0.05, "failures": 50,
             "most_bytes": 1 << 20}  # fmt: skip
    return Manners(**{**quick, **changes})


@dataclass
class Bench:
    """A store behind the stand-in, a KEK in it, and what it has wrapped."""

    kind: str
    stand_in: StandIn
    address: str
    opens: Callable[[Request], bool]  # whether a request asks for a DEK to be opened
    key: str = "bent"
    version: str = ""

    def __post_init__(self) -> None:
        self._open: list[Backend] = []
        backend = self.open()
        self.version = backend.create(self.key, backend.capabilities.algorithms[0]).newest
        self.deks = deks(3)
        self.blobs = self.wrapped(backend)
        self.close()

    def open(self, how: Manners | None = None, clock: Clock | None = None, *, address: str = "") -> Backend:
        how, clock = how or manners(), clock or Clock()
        caller = Caller(breaker=Breaker("bent", manners=how, clock=clock), manners=how, clock=clock)
        kind = {"aws": AwsBackend, "azure": AzureBackend}[self.kind]
        self._open.append(kind(parse_address(f"{address or self.address}#bent"), caller=caller))
        return self._open[-1]

    def close(self) -> None:
        while self._open:
            self._open.pop().close()

    def wrapped(self, backend: Backend) -> list[bytes | Refused]:
        return backend.wrap(self.key, self.version, [ToWrap(dek=dek, context=CONTEXT) for dek in self.deks])

    def opened(self, backend: Backend) -> list[bytearray | Refused]:
        items = [ToOpen(ciphertext=blob, context=CONTEXT) for blob in self.blobs]
        return backend.unwrap(self.key, self.version, items)

    def answers(self, *behaviours: Behaviour, to: Callable[[Request], bool] | None = None) -> None:
        """Answer openings (or what `to` says) so, one behaviour each and the last for the rest; all else well."""
        left, to = list(behaviours), to or self.opens

        def choose(exchange: Exchange) -> bool | None:
            if not to(exchange.request):
                return standin.well(exchange)
            return (left.pop(0) if len(left) > 1 else left[0])(exchange)

        self.stand_in.answers(choose)

    def asked(self) -> int:
        return sum(map(self.opens, self.stand_in.requests))


@pytest.fixture(scope="module")
def aws(tmp_path_factory):
    folder, moto = tmp_path_factory.mktemp("aws"), urlsplit(moto_server())
    (folder / "credentials").write_text(f"AKIDEXAMPLE\n{SECRET}\n")

    def passed_on(request: Request) -> Reply:
        connection = HTTPConnection(moto.hostname, moto.port, timeout=10)
        connection.request(request.method, request.path, request.body, dict(request.headers))
        answer = connection.getresponse()
        reply = Reply(answer.status, answer.read())
        connection.close()
        return reply

    with StandIn(passed_on) as stand_in:
        address = f"aws://eu-west-1?endpoint=http://{HOST}:{stand_in.port}&credentials_file={folder}/credentials"
        yield Bench("aws", stand_in, address, is_to("Decrypt"))


@pytest.fixture(scope="module")
def azure(tmp_path_factory):
    folder, vault = tmp_path_factory.mktemp("azure"), Vault(SECRET)
    shown = certificates(folder)
    (folder / "secret").write_text(SECRET)
    with StandIn(vault, tls=shown.right) as stand_in:
        vault.port = stand_in.port
        yield Bench("azure", stand_in, azure_address(folder, vault.port), lambda one: "/unwrapkey" in one.path)


def azure_address(folder, port, **more):
    options = {"credential": "secret", "tenant": TENANT, "client": CLIENT, "secret_file": f"{folder}/secret",
               "authority": f"{HOST}:{port}", "ca": f"{folder}/ca.pem", **more}  # fmt: skip
    return f"azure://{HOST}:{port}?" + "&".join(f"{name}={text}" for name, text in options.items())


def is_to(operation: str) -> Callable[[Request], bool]:
    return lambda request: request.headers.get("X-Amz-Target") == f"TrentService.{operation}"


@pytest.fixture(params=["aws", "azure"])
def bench(request):
    found = request.getfixturevalue(request.param)
    found.stand_in.answers(standin.well)
    yield found
    found.close()


@pytest.fixture
def bent_aws(aws):
    aws.stand_in.answers(standin.well)
    yield aws
    aws.close()


@pytest.fixture
def bent_azure(azure):
    azure.stand_in.answers(standin.well)
    yield azure
    azure.close()


def fails(call: Callable[[], object], kind: type[BackendError], *, within: float = 5.0) -> BackendError:
    """Return the error of a call, which must be of exactly that kind, come in time and hold no secret."""
    began = time.monotonic()
    with pytest.raises(BackendError) as caught:
        call()
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert type(caught.value) is kind, told
    assert time.monotonic() - began < within
    assert SECRET not in told
    assert "Bearer " not in told
    return caught.value


def test_the_stand_in_stands_in(bench):
    backend = bench.open()
    assert bench.opened(backend) == bench.deks
    assert backend.describe(bench.key).newest == bench.version
    assert bench.asked() == 3
    backend.close()


# What may be asked again is, three times at most; then it is the store's fault

SLOW: dict[str, Behaviour] = {
    "silence": standin.silence,
    "drips the body": standin.drips(0.1),
    "drips the head": standin.drips(0.1, from_head=True),
    "never comes to the answer": standin.endless_head,
}
AGAIN: dict[str, Behaviour] = {
    "hangs up": standin.hangs_up,
    "500": says(500, b'{"error":{"code":"InternalServerError"}}'),
    "502 without JSON": says(502, b"<html>Bad gateway</html>"),
    "503": says(503, b'{"__type":"ServiceUnavailable"}'),
    "429 for a moment": standin.busy(0),
    "429 until a date in the past": standin.busy_until(-60),
    "429 and nonsense": says(429, b"{}", Retry_After="soon"),
    "cut off": standin.cut_off,
}


@pytest.mark.parametrize("name", SLOW if FULL else ("silence", "drips the head"))
def test_what_never_ends_is_left_and_asked_again_three_times(bench, name):
    backend = bench.open(manners(attempt=LONGER[bench.kind]))
    bench.answers(SLOW[name])
    fails(lambda: bench.opened(backend), UnavailableError)
    assert bench.asked() == 4
    bench.answers(standin.well)
    assert bench.opened(bench.open()) == bench.deks


@pytest.mark.parametrize("name", AGAIN)
def test_what_may_come_back_is_asked_again_three_times(bench, name):
    backend = bench.open(manners(longest_wait=0.15))
    bench.answers(AGAIN[name])
    fails(lambda: bench.opened(backend), UnavailableError)
    assert bench.asked() == 4
    bench.answers(standin.hangs_up, standin.well)
    assert bench.opened(backend) == bench.deks


@pytest.mark.parametrize("name", ["hangs up", "500", "429 for a moment", "cut off"])
def test_what_is_not_idempotent_is_asked_once(bench, name):
    backend = bench.open(manners(longest_wait=0.15))

    def rotates(request):
        return request.path.partition("?")[0].endswith("/rotate") or is_to("RotateKeyOnDemand")(request)

    bench.answers(AGAIN[name], to=rotates)
    fails(lambda: backend.rotate(bench.key), UnavailableError)
    assert sum(map(rotates, bench.stand_in.requests)) == 1
    bench.version = backend.describe(bench.key).newest  # cut off: it was done
    bench.blobs = bench.wrapped(backend)


@pytest.mark.parametrize("busy", [standin.busy, standin.busy_until])
def test_a_retry_after_is_heeded_and_a_long_one_keeps_everybody_away(bench, busy):
    ticking = Ticking()
    backend = bench.open(Manners(), ticking.clock())
    bench.answers(busy(3), standin.well)
    assert bench.opened(backend) == bench.deks
    (wait,) = ticking.waits
    assert 1.9 <= wait <= 3
    bench.answers(busy(60), standin.well)
    assert 58 <= fails(lambda: bench.opened(backend), UnavailableError).retry_after.total_seconds() <= 60
    for _soon in range(5):
        fails(lambda: bench.opened(backend), UnavailableError)
    assert (bench.asked(), len(ticking.waits)) == (1, 1)
    ticking.now += 61
    assert bench.opened(backend) == bench.deks


def test_the_rate_stays_below_what_the_store_allows(bench):
    """Twenty a window of two seconds: each window ends with one request too many, and then there is silence."""
    ticking, quota, seen = Ticking(), 20, {}
    backend = bench.open(Manners(), ticking.clock())

    def metered(exchange):
        window = int(ticking.now // 2)
        seen[window] = seen.get(window, 0) + 1
        return (standin.well if seen[window] <= quota else standin.busy(2))(exchange)

    bench.answers(metered)
    for _batch in range(20):
        assert bench.opened(backend) == bench.deks
    assert max(seen.values()) == quota + 1
    assert all(wait == 2 for wait in ticking.waits)
    assert len(ticking.waits) == 60 // quota - 1 + 60 % quota


def test_the_breaker_opens_after_five_failures_and_tries_every_ten_seconds(bench):
    ticking = Ticking()
    backend = bench.open(Manners(), ticking.clock())
    bench.opened(backend)
    bench.stand_in.answers(says(500))
    for _call in range(3):
        fails(lambda: bench.opened(backend), UnavailableError)
    assert len(bench.stand_in.requests) == 5
    for probes in range(1, 4):
        ticking.now += 10.1
        for _call in range(3):
            fails(lambda: bench.opened(backend), UnavailableError)
        assert len(bench.stand_in.requests) == 5 + probes
    bench.stand_in.answers(standin.well)
    ticking.now += 10.1
    assert bench.opened(backend) == bench.deks


# What is wrong is asked once, believed never

FEW = ("empty", "a page", "null", "a list", "twice", "deep", "no UTF-8")
BODIES = {name: body for name, body in standin.NO_ANSWERS.items() if FULL or name in FEW}
WRONG: dict[str, tuple[Behaviour, type[BackendError]]] = {
    "20 MB": (standin.too_long, WrongAnswerError),
    "20 MB in chunks": (standin.too_long_in_chunks, WrongAnswerError),
    "truncated": (standin.truncated, WrongAnswerError),
    "no HTTP": (standin.no_http, WrongAnswerError),
    "compressed": (standin.compressed, WrongAnswerError),
    "echo in place of HTTP": (standin.echo_no_http, WrongAnswerError),
    "301": (standin.elsewhere("https://127.0.0.1:1/", 301), WrongAnswerError),
    "307": (standin.elsewhere("https://127.0.0.1:1/", 307), WrongAnswerError),
    "418": (says(418), WrongAnswerError),
    "204": (says(204), WrongAnswerError),
    **{f"200, {name}": (says(200, body), WrongAnswerError) for name, body in BODIES.items()},
}


@pytest.mark.parametrize("name", list(WRONG)[:: 1 if FULL else 2])
def test_what_makes_no_sense_is_refused_and_not_asked_again(bench, name):
    behaviour, kind = WRONG[name]
    backend = bench.open()
    bench.answers(behaviour)
    fails(lambda: bench.opened(backend), kind)
    assert bench.asked() == 1
    bench.answers(standin.well)
    assert bench.opened(backend) == bench.deks


def test_nothing_that_is_said_of_a_key_ends_in_another_kind_of_error(bench):
    """The same for describing and enabling, where other code of the vendors' reads the answer."""
    backend = bench.open(manners(longest_wait=0.15, failures=1000))
    bench.opened(backend)
    taken = []
    for name, behaviour in {**AGAIN, **{name: pair[0] for name, pair in WRONG.items()}}.items():
        bench.stand_in.answers(behaviour)
        with pytest.raises(BackendError):
            backend.describe(bench.key)
        try:
            backend.enable(bench.key, bench.version)
        except BackendError:
            continue
        taken.append(name)
    assert taken == []


def test_a_redirect_leads_nowhere_and_no_proxy_is_asked(bench, monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    backend = bench.open()
    bench.answers(standin.with_cookie)
    assert bench.opened(backend) == bench.opened(backend) == bench.deks
    assert all("cookie" not in {name.lower() for name in one.headers} for one in bench.stand_in.requests)
    with StandIn(standin.says) as other:
        bench.answers(standin.elsewhere(f"http://127.0.0.1:{other.port}/"))
        fails(lambda: bench.opened(backend), WrongAnswerError)
        assert other.connections == 0


# AWS: errors by code, and answers that are somebody else's


def code(name: str, status: int = 400) -> Behaviour:
    return says(status, json.dumps({"__type": name, "message": SECRET}).encode())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("AccessDeniedException", DeniedError), ("ExpiredTokenException", DeniedError),
        ("InvalidSignatureException", DeniedError), ("LimitExceededException", DeniedError),
        ("NotFoundException", NoSuchKeyError), ("DisabledException", NotUsableError),
        ("KMSInvalidStateException", NotUsableError), ("SomethingNewException", WrongAnswerError),
        ("a\r\nb", WrongAnswerError),
    ],
)  # fmt: skip
def test_errors_of_aws_have_their_kind_and_keep_their_text_to_themselves(bent_aws, name, kind):
    backend = bent_aws.open()
    bent_aws.answers(code(name))
    said = str(fails(lambda: bent_aws.opened(backend), kind))
    assert said == f"The key store bent answered {name if name.isalpha() else 'status 400'}."


@pytest.mark.parametrize("name", ["ThrottlingException", "KMSInternalException", "KeyUnavailableException"])
def test_errors_of_aws_that_pass_are_asked_again(bent_aws, name):
    backend = bent_aws.open()
    bent_aws.answers(code(name), standin.well)
    assert bent_aws.opened(backend) == bent_aws.deks
    assert bent_aws.asked() == 4


def test_a_blob_that_aws_does_not_open_is_refused_alone(bent_aws):
    backend = bent_aws.open()
    bent_aws.answers(standin.well, code("InvalidCiphertextException"), standin.well)
    assert bent_aws.opened(backend) == [bent_aws.deks[0], Refused("altered"), bent_aws.deks[2]]
    bent_aws.answers(standin.well, code("AccessDeniedException"), standin.well)  # of a blob of another key
    assert bent_aws.opened(backend) == [bent_aws.deks[0], Refused("denied"), bent_aws.deks[2]]


@pytest.mark.parametrize(
    "facts",
    [
        {"KeyId": "arn:aws:kms:eu-west-1:1:key/other"}, {"KeyId": None}, {"Plaintext": None}, {"Plaintext": ""},
        {"Plaintext": 7}, {"Plaintext": "!"}, {"Plaintext": []},
    ],
)  # fmt: skip
def test_an_opening_by_another_key_or_to_nothing_is_refused(bent_aws, facts):
    backend = bent_aws.open()
    bent_aws.answers(bends(lambda answer: {**answer, **facts}))
    fails(lambda: bent_aws.opened(backend), WrongAnswerError)


def test_a_key_that_gives_its_materials_ids_has_them_as_versions(bent_aws):
    """As the real KMS does, and moto does not: the material that opened a blob must be that of its version."""
    backend, (old, new) = bent_aws.open(), ("0a" * 32, "1b" * 32)
    listed = [
        {"KeyMaterialId": new, "KeyMaterialState": "CURRENT", "RotationDate": 1767225600, "RotationType": "ON_DEMAND"},
        {"KeyMaterialId": old, "KeyMaterialState": "NON_CURRENT"},
        {"KeyMaterialId": "2c" * 32, "KeyMaterialState": "PENDING_ROTATION"},
    ]
    materials = bends(lambda _answer: {"Rotations": listed, "Truncated": False})
    bent_aws.answers(materials, to=is_to("ListKeyRotations"))
    found = backend.describe(bent_aws.key)
    assert ([one.id for one in found.versions], found.newest) == ([old, new], new)
    (blob,) = backend.wrap(bent_aws.key, new, [ToWrap(dek=bent_aws.deks[0], context=CONTEXT)])
    with pytest.raises(NotUsableError, match="newest version"):
        backend.wrap(bent_aws.key, old, [ToWrap(dek=bent_aws.deks[0], context=CONTEXT)])
    item = ToOpen(ciphertext=blob, context=CONTEXT)
    for named, opened in ((new, bent_aws.deks[0]), (old, Refused("refused")), (None, Refused("refused"))):
        bent_aws.answers(bends(lambda answer, named=named: {**answer, "KeyMaterialId": named}))
        assert backend.unwrap(bent_aws.key, new, [item]) == [opened]
    both = {"SourceKeyMaterialId": new, "DestinationKeyMaterialId": new}

    def moved(**facts):
        def choose(exchange):
            if is_to("ListKeyRotations")(exchange.request):
                return materials(exchange)
            return bends(lambda answer: {**answer, **both, **facts}, when=is_to("ReEncrypt"))(exchange)

        bent_aws.stand_in.answers(choose)
        return backend.rewrap(bent_aws.key, new, new, [item])[0]

    assert isinstance(moved(), bytes)
    assert moved(SourceKeyMaterialId=old) == Refused("refused")
    fails(lambda: moved(DestinationKeyMaterialId=old), WrongAnswerError)


@pytest.mark.parametrize(
    "page",
    [
        {"Rotations": None}, {"Rotations": [], "Truncated": True},
        {"Rotations": [], "Truncated": True, "NextMarker": "a"},
        {"Rotations": [{"KeyMaterialId": "a/b"}]}, {"Rotations": [{"KeyMaterialId": "a"}, {"KeyMaterialId": "a"}]},
        {"Rotations": [{"KeyMaterialId": 7}]}, {"Rotations": [None]}, {"Rotations": "x"},
    ],
)  # fmt: skip
def test_lists_of_rotations_that_make_no_sense_are_refused(bent_aws, page):
    backend = bent_aws.open()
    bent_aws.answers(bends(lambda _answer: page), to=is_to("ListKeyRotations"))
    fails(lambda: backend.describe(bent_aws.key), WrongAnswerError)
    assert len(bent_aws.stand_in.requests) < 30


def test_a_key_that_is_not_symmetric_is_no_kek(bent_aws):
    backend = bent_aws.open()
    for facts in ({"KeySpec": "RSA_2048"}, {"KeyUsage": "SIGN_VERIFY"}, {"KeySpec": None}):
        bent_aws.answers(
            bends(lambda answer, facts=facts: answer["KeyMetadata"].update(facts)), to=is_to("DescribeKey")
        )
        fails(lambda: backend.describe(bent_aws.key), WrongAnswerError)


def test_the_key_of_an_alias_that_was_taken_meanwhile_is_scheduled_for_destruction(bent_aws):
    backend = bent_aws.open()
    bent_aws.answers(code("AlreadyExistsException"), to=is_to("CreateAlias"))
    fails(lambda: backend.create("late", WrapAlgorithm.AWS_SYMMETRIC), KeyExistsError)
    assert [one.headers["X-Amz-Target"].partition(".")[2] for one in bent_aws.stand_in.requests] == [
        "DescribeKey", "CreateKey", "CreateAlias", "ScheduleKeyDeletion",
    ]  # fmt: skip


def test_credentials_that_were_replaced_are_read_after_a_denial(bent_aws, tmp_path):
    file = tmp_path / "credentials"
    file.write_text(f"AKOLD\n{SECRET}\n")
    backend = bent_aws.open(address=f"aws://eu-west-1?endpoint=http://{HOST}:{bent_aws.stand_in.port}"
                                    f"&credentials_file={file}")  # fmt: skip
    bent_aws.answers(code("ExpiredTokenException"), to=lambda request: "AKOLD" in request.headers["Authorization"])
    fails(lambda: backend.describe(bent_aws.key), DeniedError)
    file.write_text(f"AKNEW\n{SECRET}\na-session-token\n")
    with pytest.raises(NoSuchKeyError):
        backend.describe("none")
    assert bent_aws.stand_in.requests[-1].headers["X-Amz-Security-Token"] == "a-session-token"
    for content in ("", "one", "one two three four", "é é"):
        file.write_text(content)
        unread = bent_aws.open(address=f"aws://eu-west-1?credentials_file={file}")
        fails(lambda unread=unread: unread.describe("a"), AddressError)


# Azure: the challenge, the token, disabled versions, lists that lead elsewhere


def refused(status: int, name: str, inner: str = "") -> Behaviour:
    return lambda exchange: exchange.send(error(status, name, inner))


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (refused(403, "Forbidden", "KeyDisabled"), NotUsableError),
        (refused(403, "Forbidden", "KeyExpired"), NotUsableError),
        (refused(403, "Forbidden", "ForbiddenByRbac"), DeniedError), (refused(401, "Unauthorized"), DeniedError),
        (refused(404, "KeyNotFound"), NoSuchKeyError), (says(403, b"<html>"), DeniedError),
    ],
)  # fmt: skip
def test_errors_of_the_vault_have_their_kind(bent_azure, behaviour, kind):
    backend = bent_azure.open()
    bent_azure.answers(behaviour)
    fails(lambda: bent_azure.opened(backend), kind)


def test_a_blob_that_the_vault_does_not_open_is_refused_alone(bent_azure):
    backend = bent_azure.open()
    bent_azure.answers(standin.well, refused(400, "BadParameter"), standin.well)
    assert bent_azure.opened(backend) == [bent_azure.deks[0], Refused("altered"), bent_azure.deks[2]]


@pytest.mark.parametrize("facts", [{"value": None}, {"value": ""}, {"value": 7}, {"value": "!"}, {"value": []}])
def test_an_opening_to_nothing_is_refused(bent_azure, facts):
    backend = bent_azure.open()
    bent_azure.answers(bends(lambda answer: {**answer, **facts}))
    fails(lambda: bent_azure.opened(backend), WrongAnswerError)


def is_look(request: Request) -> bool:
    is_signed = "Authorization" in request.headers
    return (
        is_signed
        and request.method == "GET"
        and request.path.startswith("/keys/bent")
        and "/versions" not in request.path
    )


@pytest.mark.parametrize(
    "facts",
    [
        {"kid": "https://127.0.0.1/keys/bent/" + "0" * 32}, {"kid": "https://127.0.0.1/keys/other/" + "0" * 32},
        {"kid": "nonsense"}, {"kid": None}, {"n": "AQAB"}, {"n": None}, {"kty": "EC"}, {"kty": "oct"}, {"kty": 7},
    ],
)  # fmt: skip
def test_a_key_that_is_another_one_wraps_and_opens_nothing(bent_azure, facts):
    backend = bent_azure.open()
    bent_azure.opened(backend)
    bent_azure.answers(bends(lambda answer: answer["key"].update(facts)), to=is_look)
    fails(lambda: bent_azure.wrapped(backend), WrongAnswerError)
    fails(lambda: bent_azure.opened(backend), WrongAnswerError)


def test_a_list_of_versions_that_leads_elsewhere_is_not_followed(bent_azure):
    backend = bent_azure.open()
    with StandIn(standin.says) as other:
        for link in (f"https://{HOST}:{other.port}/keys/bent/versions?page=2", f"http://{HOST}:{other.port}/"):
            bent_azure.answers(bends(lambda answer, link=link: answer.update(nextLink=link)),
                               to=lambda request: "/versions" in request.path)  # fmt: skip
            fails(lambda: backend.describe(bent_azure.key), WrongAnswerError)
        assert other.connections == 0


def test_a_list_of_versions_without_end_is_left(bent_azure):
    backend = bent_azure.open(manners(attempt=0.5))
    port = bent_azure.stand_in.port
    bent_azure.answers(
        bends(lambda answer: answer.update(nextLink=f"https://{HOST}:{port}/keys/bent/versions?again", value=[])),
        to=lambda request: "/versions" in request.path,
    )
    fails(lambda: backend.describe(bent_azure.key), UnavailableError)


def test_a_challenge_that_leads_elsewhere_gets_no_token(bent_azure):
    with StandIn(standin.says) as other:
        http_challenge_cache.clear()
        challenge = f'Bearer authorization="https://{HOST}:{other.port}/{TENANT}", resource="https://vault.azure.net"'
        bent_azure.answers(says(401, b"", WWW_Authenticate=challenge), to=lambda request: "/keys" in request.path)
        fails(lambda: bent_azure.open().describe(bent_azure.key), DeniedError)
        assert other.connections == 0
    http_challenge_cache.clear()
    bent_azure.answers(standin.well)
    assert bent_azure.opened(bent_azure.open()) == bent_azure.deks


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (says(401, b'{"error":"invalid_client","error_description":"wrong"}'), DeniedError),
        (standin.hangs_up, UnavailableError), (standin.silence, UnavailableError), (says(200, b"<html>"), DeniedError),
        (standin.too_long, WrongAnswerError), (standin.elsewhere("https://127.0.0.1:1/"), WrongAnswerError),
        (says(503, b"{}"), UnavailableError),
    ],
)  # fmt: skip
def test_who_gives_the_token_is_held_to_the_same_manners(bent_azure, behaviour, kind):
    backend = bent_azure.open(manners(attempt=0.4))
    bent_azure.answers(behaviour, to=lambda request: "/oauth2/" in request.path)
    fails(lambda: backend.describe(bent_azure.key), kind)


def test_a_wrong_secret_is_denied_and_the_right_one_is_read_after_it(bent_azure, tmp_path):
    (tmp_path / "secret").write_text("wrong")
    options = parse_address(f"{bent_azure.address}#bent").options
    address = azure_address(tmp_path, bent_azure.stand_in.port, ca=options["ca"])
    backend = bent_azure.open(address=address)
    fails(lambda: backend.describe(bent_azure.key), DeniedError)
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    assert backend.describe(bent_azure.key).newest == bent_azure.version
    for content in (b"", b"\xff"):
        (tmp_path / "secret").write_bytes(content)
        fails(lambda: bent_azure.open(address=address).describe("a"), AddressError)


def test_a_workload_signs_in_with_the_token_in_its_file(bent_azure, tmp_path):
    (tmp_path / "secret").write_text(SECRET)
    options = parse_address(f"{bent_azure.address}#bent").options
    more = {"credential": "workload", "token_file": f"{tmp_path}/secret", "ca": options["ca"]}
    backend = bent_azure.open(address=azure_address(tmp_path, bent_azure.stand_in.port, **more))
    assert bent_azure.opened(backend) == bent_azure.deks
    sent = [one.body.decode() for one in bent_azure.stand_in.requests if "/oauth2/" in one.path]
    assert ["client_assertion=" in body for body in sent] == [True]


def test_a_certificate_must_be_for_the_host_and_of_the_authority(bent_azure, tmp_path):
    shown = certificates(tmp_path)
    (tmp_path / "secret").write_text(SECRET)
    for tls in (shown.other_name, shown.other_authority, None):
        with StandIn(bent_azure.stand_in.good, tls=tls) as stand_in:
            backend = bent_azure.open(address=azure_address(tmp_path, stand_in.port))
            fails(lambda backend=backend: backend.describe("a"), UnavailableError if tls is None else WrongAnswerError)
            assert stand_in.requests == []


def test_what_was_wrapped_with_sha_1_is_opened_and_nothing_more(bent_azure):
    vault = bent_azure.stand_in.good
    public = vault.keys[bent_azure.key][-1].private.public_key()
    blob = public.encrypt(bytes(bent_azure.deks[0]), PADDINGS["RSA-OAEP"])
    item, version = ToOpen(ciphertext=blob, context=CONTEXT), vault.keys[bent_azure.key][-1].id
    assert bent_azure.open().unwrap(bent_azure.key, version, [item]) == [Refused("altered")]
    older = bent_azure.open(address=f"{bent_azure.address}&sha1=bent")
    assert older.describe(bent_azure.key).algorithm is WrapAlgorithm.RSA_2048_OAEP
    assert older.unwrap(bent_azure.key, version, [item]) == [bent_azure.deks[0]]
    for call in (lambda: bent_azure.wrapped(older), lambda: older.rotate(bent_azure.key)):
        with pytest.raises(BackendError, match="SHA-1"):
            call()


def test_a_vault_says_itself_how_long_it_keeps_what_is_deleted(bent_azure):
    backend = bent_azure.open()
    with pytest.raises(BackendError, match="keeps what is deleted for 7 days, and not for 30"):
        backend.schedule_destruction(bent_azure.key, bent_azure.version, days=30)
    assert not [one for one in bent_azure.stand_in.requests if one.method == "DELETE"]


def test_the_newest_version_can_be_disabled_and_is_described_still(bent_azure):
    backend = bent_azure.open()
    backend.create("newest", WrapAlgorithm.RSA_2048_OAEP_256)
    backend.rotate("newest")
    first, second = backend.describe("newest").versions
    backend.disable("newest", second.id)
    found = backend.describe("newest")
    assert {one.id: one.status for one in found.versions} == {
        first.id: VersionStatus.ENABLED, second.id: VersionStatus.DISABLED,
    }  # fmt: skip
    backend.disable("newest", first.id)
    fails(lambda: backend.describe("newest"), NotUsableError)


def test_a_key_waits_deleted_and_its_name_is_not_given_again(bent_azure):
    backend = bent_azure.open()
    made = backend.create("waiting", WrapAlgorithm.RSA_2048_OAEP_256)
    with pytest.raises(NotUsableError, match="not deleted yet"):
        backend.purge("waiting", made.newest)
    backend.schedule_destruction("waiting", made.newest, days=7)
    fails(lambda: backend.create("waiting", WrapAlgorithm.RSA_2048_OAEP_256), KeyExistsError)
    backend.purge("waiting", made.newest)
    fails(lambda: backend.describe("waiting"), NoSuchKeyError)


@pytest.mark.parametrize(
    "text",
    [
        "aws://eu-central-1#n", "aws://eu-central-1?credentials_file=c#n", "aws:?credentials_file=/c#n",
        "aws://evil.example?credentials_file=/c#n", "aws://eu-central-1/x?credentials_file=/c#n",
        "aws://eu-central-1?credentials_file=/c&endpoint=http://kms.example#n",
        "aws://eu-central-1?credentials_file=/c&endpoint=https://kms.example/path#n",
        "aws://eu-central-1?credentials_file=/c&secret=s3cr3t#n", "azure://vault.example?credential=cli#n",
        "azure://vault.example#n", "azure://vault.example?credential=secret&tenant=a&client=b#n",
        "azure://vault.example?credential=secret&tenant=a&client=b&secret_file=c#n",
        "azure://vault.example/keys?credential=managed#n", "azure:?credential=managed#n",
        "azure://vault.example?credential=managed&secret=s3cr3t#n",
        "azure://vault.example?credential=managed&authority=https://login.example/#n",
    ],
)  # fmt: skip
def test_an_address_that_is_not_clear_is_refused(text):
    with pytest.raises(AddressError) as caught:
        (AwsBackend if text.startswith("aws") else AzureBackend)(parse_address(text))
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("key", ["", "../a", "a b", "a?b", "a\r\nb", "é", "a" * 251, "aws/kms"])
def test_names_that_are_no_keys_are_never_asked_for(bench, key):
    backend = bench.open()
    item = ToOpen(ciphertext=bench.blobs[0], context=CONTEXT)
    for call in (
        lambda: backend.describe(key), lambda: backend.rotate(key), lambda: backend.unwrap(key, bench.version, [item]),
        lambda: backend.create(key, backend.capabilities.algorithms[0]),
    ):  # fmt: skip
        fails(call, AddressError)
    assert bench.stand_in.requests == []


def test_nothing_shows_the_secret(bench):
    backend = bench.open()
    bench.opened(backend)
    assert SECRET not in repr(backend) + repr(vars(backend)) + repr(vars(backend._client)) + repr(backend.address)
