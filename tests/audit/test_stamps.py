"""The anchor rfc3161: against `openssl ts` behind a small server, and against answers that lie."""

import base64
import shutil
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from audit.anchors import AnchorError, SentCheckpoint, stamps
from audit.anchors.stamps import StampAnchor

OPENSSL = shutil.which("openssl") or "openssl"
CONFIG = """
[tsa]
dir = {folder}
serial = $dir/serial
signer_cert = $dir/{certificate}.pem
signer_key = $dir/{certificate}.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
"""
NOTE = "example.org/audit\n9\nAAAA\n\n— example.org/audit AAAA\n"


def certificate(folder, name, *, issuer=None, stamps_time=True, ends=timedelta(days=30)):
    """Make a certificate and its key as files; the first is an authority."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder(
        issuer_name=issuer[0].subject if issuer else subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(days=60),
        not_valid_after=now + ends,
    ).add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    if issuer and stamps_time:
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
    signed = made.sign(issuer[1] if issuer else key, hashes.SHA256())
    (folder / f"{name}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return signed, key


class Authority(ThreadingHTTPServer):
    """Answers as `openssl ts` does, or as `lie` makes of it."""

    daemon_threads = True

    def __init__(self, folder):
        self.folder, self.asked, self.certificate, self.lie = folder, [], "tsa", lambda answer, _asked: answer
        super().__init__(("127.0.0.1", 0), Handler)

    def stamp(self, request):
        config, query, reply = (self.folder / name for name in ("ts.conf", "query", "reply"))
        config.write_text(CONFIG.format(folder=self.folder, certificate=self.certificate))
        query.write_bytes(request)
        made = [OPENSSL, "ts", "-reply", "-queryfile", query, "-out", reply, "-config", config, "-section", "tsa"]
        subprocess.run(made, check=True, capture_output=True)
        return reply.read_bytes()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        request = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(request)
        answer = self.server.lie(self.server.stamp(request), request)
        self.send_response(200)
        self.send_header("Content-Type", "application/timestamp-reply")
        self.end_headers()
        try:
            for piece in answer if isinstance(answer, list) else [answer]:
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(0.2 if isinstance(answer, list) else 0)
        except OSError:
            pass  # who asked has hung up

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tsa")
    root = certificate(folder, "root")
    certificate(folder, "tsa", issuer=root)
    certificate(folder, "expired", issuer=root, ends=-timedelta(days=1))
    certificate(folder, "no-time", issuer=root, stamps_time=False)
    certificate(folder, "stranger", issuer=certificate(folder, "other-root"))
    (folder / "serial").write_text("01")
    return folder


@pytest.fixture
def authority(files):
    server = Authority(files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def anchor(authority, files):
    return StampAnchor(address(authority, files, "tsa"))


def address(authority, files, certificate):
    return f"rfc3161+http://127.0.0.1:{authority.server_port}/tsr?ca={files}/root.pem&certificate={files}/{certificate}.pem"


def deliver(anchor, *, now=None):
    now = now or datetime.now(UTC)
    return anchor.deliver(SentCheckpoint(size=9, made_at=now, note=NOTE, digest=bytes(32)), now=now)


def test_a_note_is_stamped_and_openssl_verifies_the_receipt(anchor, files, tmp_path):
    receipt = deliver(anchor)
    assert len(receipt) < 2_000
    (tmp_path / "reply").write_bytes(base64.b64decode(receipt))
    (tmp_path / "note").write_text(NOTE)
    verify = [
        *(OPENSSL, "ts", "-verify", "-in", tmp_path / "reply", "-data", tmp_path / "note"),
        *("-CAfile", files / "root.pem", "-untrusted", files / "tsa.pem"),
    ]
    assert "Verification: OK" in subprocess.run(verify, check=True, capture_output=True, text=True).stdout
    (tmp_path / "note").write_text(NOTE + "x")
    assert subprocess.run(verify, check=False, capture_output=True).returncode == 1


def test_without_a_pinned_certificate_the_answer_brings_one(authority, files):
    anchor = StampAnchor(f"rfc3161+http://127.0.0.1:{authority.server_port}/?ca={files}/root.pem")
    assert deliver(anchor)
    authority.certificate = "stranger"
    with pytest.raises(AnchorError, match="no time stamp that can be trusted"):
        deliver(anchor)


def test_two_requests_have_two_nonces(anchor, authority):
    deliver(anchor)
    deliver(anchor)
    assert len(set(authority.asked)) == 2


def other_nonce(authority):
    """Answer every time with the stamp of the first request: it is signed, and it is old."""
    kept = []

    def lie(answer, _asked):
        kept.append(answer)
        return kept[0]

    authority.lie = lie


def other_imprint(authority):
    """Stamp another note, under the nonce of this one."""

    def lie(_answer, asked):
        digest = hashes.Hash(hashes.SHA256())
        digest.update(NOTE.encode())
        return authority.stamp(asked.replace(digest.finalize(), bytes(32)))

    authority.lie = lie


def test_the_stamp_of_another_request_is_refused(anchor, authority):
    other_nonce(authority)
    deliver(anchor)
    with pytest.raises(AnchorError, match="Nonce mismatch"):
        deliver(anchor)


def test_the_stamp_of_another_note_is_refused(anchor, authority):
    other_imprint(authority)
    with pytest.raises(AnchorError, match="Mismatch between messages"):
        deliver(anchor)


@pytest.mark.parametrize(
    "lie",
    [
        lambda answer, _asked: b"",
        lambda answer, _asked: b"<html>",
        lambda answer, _asked: answer[:-20],
        lambda answer, _asked: answer[:-1] + bytes([answer[-1] ^ 1]),  # the signature ends here
        lambda answer, _asked: bytes.fromhex("30053003020102"),  # rejected, without a stamp
        lambda answer, _asked: answer.replace(b"\x30\x03\x02\x01\x00", b"\x30\x03\x02\x01\x02", 1),
    ],
)
def test_what_is_no_whole_signed_stamp_is_refused(anchor, authority, lie):
    authority.lie = lie
    with pytest.raises(AnchorError):
        deliver(anchor)


@pytest.mark.parametrize("signer", ["expired", "stranger"])
def test_a_stamp_by_whom_we_do_not_trust_is_refused(authority, files, signer):
    authority.certificate = signer
    for pinned in (signer, "tsa"):
        with pytest.raises(AnchorError, match="no time stamp that can be trusted"):
            deliver(StampAnchor(address(authority, files, pinned)))


def test_a_certificate_that_is_not_for_time_stamps_is_refused(authority, files):
    with pytest.raises(AnchorError, match="no time stamp that can be trusted"):
        deliver(StampAnchor(address(authority, files, "no-time")))


def test_a_stamp_of_another_time_is_refused(anchor):
    with pytest.raises(AnchorError, match="this machine's clock says otherwise"):
        deliver(anchor, now=datetime.now(UTC) + timedelta(minutes=6))


def test_a_huge_answer_and_a_slow_one_are_not_waited_for(anchor, authority, monkeypatch):
    authority.lie = lambda answer, _asked: bytes(10_000_000)
    with pytest.raises(AnchorError, match="more than 12,288 bytes"):
        deliver(anchor)
    monkeypatch.setattr(stamps, "WHOLE_SECONDS", 1)
    authority.lie = lambda answer, _asked: [bytes(1)] * 50  # a byte now and then, for ten seconds
    began = time.monotonic()
    with pytest.raises(AnchorError, match="did not answer"):
        deliver(anchor)
    assert time.monotonic() - began < 5


def test_an_authority_that_is_not_there_is_an_error_for_people(files):
    gone = StampAnchor(f"rfc3161+http://127.0.0.1:9/?ca={files}/root.pem")
    with pytest.raises(AnchorError, match=r"127\.0\.0\.1 did not answer: Connection refused"):
        deliver(gone)


@pytest.mark.parametrize("options", ["", "?ca=relative", "?ca=/a&certificate=b", "?ca=/a&x=1", "?certificate=/b"])
def test_an_address_that_is_not_clear_is_refused(options):
    with pytest.raises(AnchorError):
        StampAnchor(f"rfc3161+https://tsa.example.org/tsr{options}")


def test_a_file_without_certificates_is_named(files):
    anchor = StampAnchor(f"rfc3161+http://127.0.0.1:9/?ca={files}/root.key")
    with pytest.raises(AnchorError, match=r"root\.key holds no certificates"):
        deliver(anchor)
