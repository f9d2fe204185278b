"""The anchor s3: against a real object store on loopback (moto): locked, checked, never overwritten."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from audit.anchors import AnchorError, SentCheckpoint
from audit.anchors.objects import ObjectAnchor
from audit.notes import Checkpoint

SECRET = "c2VjcmV0LW9mLXRoZS10ZXN0cw"


@pytest.fixture(scope="module")
def store():
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def client(store):
    return boto3.client(
        "s3", endpoint_url=store, region_name="us-east-1", aws_access_key_id="id", aws_secret_access_key=SECRET
    )


@pytest.fixture
def bucket(client, request):
    name = f"checkpoints-{abs(hash(request.node.name))}"
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


@pytest.fixture
def anchor(store, bucket, tmp_path):
    file = tmp_path / "credentials"
    file.write_text(f"id\n{SECRET}\n")
    return ObjectAnchor(f"s3+{store}/{bucket}/log?days=400&credentials={file}")


def made(size, at):
    checkpoint = Checkpoint(
        origin="example.org/audit", size=size, root=bytes(32), time=at, head=bytes(32), previous=bytes(32), epoch=1
    )
    note = f"{checkpoint.text}\n— example.org/audit AAAA\n"
    return SentCheckpoint(size=size, made_at=at, note=note, digest=checkpoint.digest)


@pytest.fixture
def now():
    return datetime.now(UTC).replace(microsecond=0)


def test_an_object_is_locked_until_its_day_and_its_version_is_the_receipt(anchor, client, bucket, now):
    sent = made(9, now)
    version = anchor.deliver(sent, now=now)
    name = "log/000000000000009.checkpoint"
    held = client.get_object(Bucket=bucket, Key=name, VersionId=version)
    assert held["Body"].read() == sent.note.encode()
    assert (held["ObjectLockMode"], held["ObjectLockRetainUntilDate"]) == ("COMPLIANCE", now + timedelta(days=400))
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(Bucket=bucket, Key=name, VersionId=version)
    assert anchor.deliver(sent, now=now) == version  # after a crash: the same answer, and one object
    assert len(client.list_object_versions(Bucket=bucket)["Versions"]) == 1


def test_another_checkpoint_of_the_same_size_is_refused(anchor, client, bucket, now):
    sent = made(9, now)
    anchor.deliver(sent, now=now)
    with pytest.raises(AnchorError, match="holds another checkpoint"):
        anchor.deliver(replace(sent, note=sent.note + "x"), now=now)
    assert len(client.list_object_versions(Bucket=bucket)["Versions"]) == 1


def test_a_log_that_was_cut_is_known(anchor, now):
    anchor.deliver(made(9, now), now=now)
    with pytest.raises(AnchorError, match="over more events \\(9 instead of 4\\): the log was cut"):
        anchor.deliver(made(4, now + timedelta(minutes=1)), now=now)
    assert anchor.deliver(made(5, now - timedelta(minutes=1)), now=now)  # it waited longer than the next


@pytest.mark.parametrize("versioned", [False, True])
def test_a_bucket_without_lock_is_no_anchor(store, client, tmp_path, now, versioned):
    name = f"plain-{versioned}".lower()
    client.create_bucket(Bucket=name)
    if versioned:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    (tmp_path / "credentials").write_text(f"id {SECRET}")
    anchor = ObjectAnchor(f"s3+{store}/{name}?days=1&credentials={tmp_path}/credentials")
    with pytest.raises(AnchorError):
        anchor.deliver(made(9, now), now=now)


def test_an_object_whose_lock_is_over_soon_is_not_taken_for_locked(anchor, client, bucket, now):
    """Somebody put the very same bytes there before us, without a lock that holds."""
    sent = made(9, now)
    client.put_object(Bucket=bucket, Key="log/000000000000009.checkpoint", Body=sent.note.encode())
    with pytest.raises(AnchorError, match="not locked as asked"):
        anchor.deliver(sent, now=now)


def test_errors_name_no_secret(store, bucket, tmp_path, now):
    file = tmp_path / "credentials"
    file.write_text(f"id\n{SECRET}\n")
    missing = ObjectAnchor(f"s3+{store}/no-such-bucket/log?days=400&credentials={file}")
    with pytest.raises(AnchorError, match="refused it: NoSuchBucket") as caught:
        missing.deliver(made(9, now), now=now)
    nobody = ObjectAnchor(f"s3+http://127.0.0.1:9/{bucket}?days=400&credentials={file}")
    with pytest.raises(AnchorError, match="cannot be reached: EndpointConnectionError") as unreachable:
        nobody.deliver(made(9, now), now=now)
    assert SECRET not in f"{caught.value}{unreachable.value}"
    with pytest.raises(AnchorError, match="/none does not hold an id and a secret"):
        ObjectAnchor(f"s3+{store}/{bucket}?days=1&credentials={tmp_path}/none").deliver(made(9, now), now=now)


@pytest.mark.parametrize(
    "address",
    [
        "s3+https://s3.example.org/bucket?days=400",
        "s3+https://s3.example.org/bucket?days=0&credentials=/c",
        "s3+https://s3.example.org/bucket?days=9999&credentials=/c",
        "s3+https://s3.example.org/?days=400&credentials=/c",
        "s3+https://s3.example.org/bucket?days=400&credentials=relative",
        "s3+https://s3.example.org/bucket?days=400&credentials=/c&mode=GOVERNANCE",
        "s3+https://s3.example.org/bucket?days=400&days=1&credentials=/c",
        "s3+http://s3.example.org/bucket?days=400&credentials=/c",
        "s3+https://id:secret@s3.example.org/bucket?days=400&credentials=/c",
    ],
)
def test_an_address_that_is_not_clear_is_refused(address):
    with pytest.raises(AnchorError) as caught:
        ObjectAnchor(address)
    assert "secret" not in str(caught.value)
