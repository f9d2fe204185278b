"""Anchor `s3+https://host/bucket/prefix?days=400&region=eu-central-1&credentials=/path`: objects nobody can delete.

One object for each checkpoint in a bucket with object lock, retained in compliance mode: until that day not even the
owner of the bucket can delete it or shorten its time. `credentials` names a file with the id of the access key in its
first line and the secret in its second. Without encryption (`s3+http`) only on this machine. Needs the extra `s3`.
"""

import base64
import hashlib
import ipaddress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from audit.anchors.base import SECONDS, Anchor, AnchorError, SentCheckpoint, need_extra, options_of, parts_of
from audit.anchors.files import READ_BYTES, SUFFIX, file_name
from audit.deadlines import within
from audit.notes import NoteError, parse_checkpoint

OPTIONS = frozenset({"days", "region", "credentials"})
WHOLE_SECONDS = 4 * SECONDS  # for all that is said about one checkpoint
MOST_DAYS = 3650
COMPLIANCE = "COMPLIANCE"
_MISSING = {"404", "NoSuchKey", "NotFound"}
_WRITTEN = "An anchor s3: of KEYVAULT_ANCHORS is written as s3+https://host/bucket/prefix?days=400&credentials=/path."


class ObjectAnchor(Anchor):
    """A folder of a bucket whose objects are locked."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        need_extra("s3", "boto3")
        parts = parts_of(name, has_options=True)
        options = options_of(parts, OPTIONS)
        self.bucket, _, prefix = unquote(parts.path).strip("/").partition("/")
        self.prefix = f"{prefix}/" if prefix else ""
        self.endpoint = f"{parts.scheme.removeprefix('s3+')}://{parts.netloc}"
        self.region = options.get("region", "us-east-1")
        self.credentials = Path(options.get("credentials", ""))
        days = options.get("days", "")
        if not (parts.hostname and self.bucket and self.credentials.is_absolute()):
            raise AnchorError(_WRITTEN)
        if not (days.isascii() and days.isdecimal() and 0 < int(days) <= MOST_DAYS):
            raise AnchorError(
                f"An anchor s3: of KEYVAULT_ANCHORS says for how many days, 1 to {MOST_DAYS:,}: days=400."
            )
        self.retained = timedelta(days=int(days))
        if parts.scheme == "s3+http" and not _is_this_machine(parts.hostname):
            raise AnchorError("An anchor s3+http: is for this machine alone; use s3+https:.")

    def deliver(self, sent: SentCheckpoint, *, now: datetime) -> str:
        """Put the object and see that it is locked; return its version."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return within(WHOLE_SECONDS, lambda: self._deliver(self._client(), sent, now))
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "no reason")
            raise AnchorError(f"The bucket {self.bucket} refused it: {str(code)[:80]}.") from error
        except (BotoCoreError, Boto3Error, TimeoutError, OSError) as error:
            raise AnchorError(f"The bucket {self.bucket} cannot be reached: {type(error).__name__}.") from error

    def _client(self) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        import boto3
        from botocore.config import Config

        try:
            key, secret = self.credentials.read_text(encoding="ascii").split()
        except (OSError, ValueError) as error:
            raise AnchorError(f"The file {self.credentials} does not hold an id and a secret, one a line.") from error
        how = Config(
            connect_timeout=SECONDS, read_timeout=SECONDS, retries={"total_max_attempts": 1}, signature_version="s3v4",
            s3={"addressing_style": "path"}, proxies={},
        )  # fmt: skip
        return boto3.session.Session().client(
            "s3", endpoint_url=self.endpoint, region_name=self.region, aws_access_key_id=key,
            aws_secret_access_key=secret, config=how,
        )  # fmt: skip

    def _deliver(self, client: Any, sent: SentCheckpoint, now: datetime) -> str:  # noqa: ANN401 - of boto3
        name, content = f"{self.prefix}{file_name(sent.size)}", sent.note.encode()
        self._refuse_older(client, name, sent)
        kept = self._kept(client, name)
        until = now + self.retained
        if kept is None:
            version = str(self._put(client, name, content, until).get("VersionId", ""))
        elif kept[0] == content:
            version = kept[1]  # a crash kept us from noting that it is there
            until = now
        else:
            raise AnchorError(
                f"{name} is in the bucket already and holds another checkpoint: this log, or that bucket, is not what "
                "it was. Compare both with what other anchors hold."
            )
        self._see_lock(client, name, version, until)
        return version

    def _put(self, client: Any, name: str, content: bytes, until: datetime) -> Any:  # noqa: ANN401 - of boto3
        return client.put_object(
            Bucket=self.bucket, Key=name, Body=content, ContentType="text/plain; charset=utf-8", IfNoneMatch="*",
            ContentMD5=base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode(),
            ObjectLockMode=COMPLIANCE, ObjectLockRetainUntilDate=until,
        )  # fmt: skip

    def _kept(self, client: Any, name: str) -> tuple[bytes, str] | None:  # noqa: ANN401 - of boto3
        """Return what stands under a name, and its version; None if there is nothing."""
        from botocore.exceptions import ClientError

        try:
            found = client.get_object(Bucket=self.bucket, Key=name)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _MISSING:
                return None
            raise
        return found["Body"].read(READ_BYTES), str(found.get("VersionId", ""))

    def _see_lock(self, client: Any, name: str, version: str, until: datetime) -> None:  # noqa: ANN401 - of boto3
        """Refuse what the bucket took without locking it: it would be as deletable as any file."""
        if not version or version == "null":
            raise AnchorError(f"The bucket {self.bucket} has no object lock: make one with it, it cannot be added.")
        held = client.head_object(Bucket=self.bucket, Key=name, VersionId=version)
        ends = held.get("ObjectLockRetainUntilDate")
        if held.get("ObjectLockMode") != COMPLIANCE or ends is None or ends < until - timedelta(seconds=1):
            raise AnchorError(
                f"{name} is in the bucket, and not locked as asked: look at the rights of the access key."
            )

    def _refuse_older(self, client: Any, name: str, sent: SentCheckpoint) -> None:  # noqa: ANN401 - of boto3
        """Refuse a checkpoint over fewer events than one that was made before it: the log was cut or put back."""
        listed = client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, StartAfter=name)
        names = [one["Key"] for one in listed.get("Contents", ()) if one["Key"].endswith(SUFFIX)]
        if not names or (later := self._kept(client, max(names))) is None:
            return
        try:
            kept = parse_checkpoint(later[0].decode().partition("\n\n")[0] + "\n")
        except (NoteError, UnicodeDecodeError) as error:
            raise AnchorError(f"{max(names)} in the bucket is no checkpoint: keep nothing else there.") from error
        if kept.time < sent.made_at:
            raise AnchorError(
                f"{max(names)} was made earlier over more events ({kept.size:,} instead of {sent.size:,}): the log was "
                "cut, or an older copy of it put back. Run verify_audit, and keep that object."
            )


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
