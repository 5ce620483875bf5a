"""Where objects go: one code path for a bucket and for a folder (obstore)."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, S3Store

from storescp.keys import INCOMING

if TYPE_CHECKING:
    from asyncio import Future

    from storescp.settings import Settings

__all__ = ["AlreadyExistsError", "Store", "StoreError", "UploadAbandoned", "open_store"]

StoreError = BaseError
PART_BYTES: Final = 5 * 1024 * 1024  # the least that S3 allows for a part (S3 User Guide, "multipart upload limits")
PARTS_AT_ONCE: Final = 2
_PROBE_KEY: Final = f"{INCOMING}/probe"
_MAXIMUM_RETRIES: Final = 4
# Of DIMSE_TIMEOUT: the rest is for the way of our answer, and a request that hangs is tried once more.
_ANSWER_SHARE: Final = 0.9
_REQUEST_SHARE: Final = 0.4


class UploadAbandoned(Exception):
    """Raised by the chunks of an upload that is not to be completed; the store discards what it has of it."""


class Store:
    """Writes objects. Every method returns a future that is done when the store has answered for all of it."""

    def __init__(self, backend: Any, answer_seconds: float) -> None:
        self._backend = backend
        self.answer_seconds = answer_seconds

    def put(self, key: str, data: memoryview) -> Future[Any]:
        """Write an object that is whole in memory; `data` must not change until the future is done."""
        return obstore.put_async(self._backend, key, data, use_multipart=False)  # type: ignore[return-value]

    def put_stream(self, key: str, chunks: AsyncIterator[memoryview]) -> Future[Any]:
        """Write an object in parts, while it arrives; an exception from `chunks` discards it."""
        return obstore.put_async(  # type: ignore[return-value]
            self._backend,
            key,
            chunks,
            use_multipart=True,
            chunk_size=PART_BYTES,
            max_concurrency=PARTS_AT_ONCE,
        )

    def create(self, key: str, data: bytes) -> Future[Any]:
        """Write an object unless there is one, then the future raises `AlreadyExistsError`."""
        return obstore.put_async(self._backend, key, data, mode="create")  # type: ignore[return-value]

    async def unreachable_because(self) -> str:
        """Try whether objects can be written, without writing any; return what is in the way, or nothing.

        A multipart upload is begun and abandoned: it needs the permissions that storing needs (s3:PutObject,
        s3:AbortMultipartUpload) and nothing becomes visible. A folder was tried when it was prepared.
        """
        if not isinstance(self._backend, S3Store):
            return ""
        try:
            await self.put_stream(_PROBE_KEY, _abandon())
        except UploadAbandoned:
            return ""
        except (BaseError, OSError) as error:
            return f"the store cannot be written: {error}"
        return "the store completed an upload that was abandoned"


async def _abandon() -> AsyncIterator[memoryview]:
    raise UploadAbandoned
    yield memoryview(b"")  # makes it a generator


def prepare_folder(settings: Settings) -> None:
    """Make the folder, if there is no bucket; raises `OSError` if objects cannot be written there."""
    if not settings.dicom_bucket:
        Path(settings.storage_dir).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.storage_dir):
            pass


def open_store(settings: Settings, environment: Mapping[str, str]) -> Store:
    """Open the bucket or the folder that the settings name.

    Credentials are found the way AWS's SDKs find them: environment, the task's credentials endpoint, the
    instance's. Nothing is contacted here.
    """
    answer_seconds = settings.dimse_timeout * _ANSWER_SHARE
    if settings.dicom_bucket:
        return Store(_open_bucket(settings, environment), answer_seconds)
    return Store(LocalStore(Path(settings.storage_dir)), answer_seconds)


def _open_bucket(settings: Settings, environment: Mapping[str, str]) -> S3Store:
    endpoint = settings.endpoint_url
    request_seconds = settings.dimse_timeout * _REQUEST_SHARE
    options: dict[str, Any] = {"endpoint": endpoint} if endpoint else {}
    if "AWS_REGION" not in environment and "AWS_DEFAULT_REGION" not in environment:
        options["region"] = "us-east-1"
    return S3Store(
        settings.dicom_bucket,
        # TLS protects the bytes on their way; hashing them for the signature as well costs as much as the rest.
        unsigned_payload=True,
        conditional_put="etag",
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=min(5.0, request_seconds)),
            "timeout": timedelta(seconds=request_seconds),
            "pool_idle_timeout": timedelta(seconds=15),
        },
        retry_config={
            "max_retries": _MAXIMUM_RETRIES,
            "retry_timeout": timedelta(seconds=settings.dimse_timeout * _ANSWER_SHARE),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=5),
                "base": 2,
            },
        },
        **options,
    )
