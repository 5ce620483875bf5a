"""A bucket of Amazon S3 as a store: create only, tried again within a time limit, believed only with proof (ADR 13).

Success is status 200 with what that operation answers: an ETag and no body for a PUT, a result and no error in the body
for the completion of an upload. A redirect is never followed.
"""

import asyncio
import re
import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import unescape
from typing import Final
from urllib.parse import unquote

from storescp.keys import INCOMING
from storescp.s3.connection import ExchangeFailed, TimeLimits
from storescp.s3.credentials import Credentials, CredentialsUnavailable, find_source
from storescp.s3.endpoint import Endpoint, find_endpoint
from storescp.s3.fetch import encode_head
from storescp.s3.pool import ConnectionPool
from storescp.s3.response import Response, ResponseReader
from storescp.s3.retry import MAXIMUM_TRIES, Verdict, code_of_response, judge, wait_seconds
from storescp.s3.signing import Keys, Scope, encode_path, encode_query, signed_headers
from storescp.store import AlreadyExistsError, StoreError, StoreHealth

_PROBE_KEY: Final = f"{INCOMING}/probe"
_MAXIMUM_ANSWER: Final = 64 * 1024
_MAXIMUM_OBJECT: Final = 16 * 1024 * 1024  # that `get` reads
_MAXIMUM_PAGE: Final = 4 * 1024 * 1024
_MAXIMUM_PAGES: Final = 1000
_CLOSE_SECONDS: Final = 2.0
_CREATE_ONLY: Final = {"if-none-match": "*"}
_ETAG = re.compile(r'"([!#-~]{1,256})"')
_UPLOAD_ID = re.compile(rb"<UploadId>\s*([^<\s]{1,1024})\s*</UploadId>")
_RESULT_ETAG = re.compile(rb"<ETag>\s*([^<\s]{1,512})\s*</ETag>")
_KEY = re.compile(rb"<Contents>.*?<Key>([^<]*)</Key>.*?</Contents>", re.DOTALL)
_NEXT_PAGE = re.compile(rb"<NextContinuationToken>([^<]{1,4096})</NextContinuationToken>")
_CONFLICT: Final = 412  # Precondition Failed: there is an object of that key


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of S3, however often it is tried; `is_success` reads a response with status 200."""

    method: str
    key: str = ""
    parameters: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    chunks: Sequence[memoryview] = ()
    status: int = 200
    is_success: Callable[[Response], bool] = lambda response: True
    body_limit: int = _MAXIMUM_ANSWER
    is_patient: bool = False  # see `TimeLimits`


@dataclass(frozen=True, slots=True)
class Outcome:
    """The response that decides; `is_repeated`: an earlier try was sent whole, and what became of it is not known."""

    response: Response
    is_repeated: bool


class Bucket:
    """A `storescp.store.Store` in Amazon S3, or in what speaks like it."""

    def __init__(
        self,
        endpoint: Endpoint,
        pool: ConnectionPool,
        credentials: Credentials,
        region: str,
        answer_seconds: float,
        try_seconds: float,
    ) -> None:
        """`answer_seconds` for a call, `try_seconds` of silence for one of its tries."""
        self.answer_seconds = answer_seconds
        self.health = StoreHealth()
        self._loop = asyncio.get_running_loop()
        self._endpoint = endpoint
        self._pool = pool
        self._credentials = credentials
        self._scope = Scope(region, "s3")
        self._try_seconds = try_seconds
        self._background: set[asyncio.Task[None]] = set()

    def put(self, key: str, chunks: Sequence[memoryview]) -> asyncio.Future[str]:
        """See `Store.put`."""
        return self._loop.create_task(self._put(key, chunks))

    async def begin_upload(self, key: str) -> "BucketUpload":
        """See `Store.begin_upload`."""
        operation = Operation(
            "POST", key, (("uploads", ""),), is_success=lambda response: bool(_UPLOAD_ID.search(response.body))
        )
        outcome = await self.call(operation)
        matched = _UPLOAD_ID.search(outcome.response.body)
        assert matched is not None
        return BucketUpload(self, self._loop, key, unescape(matched[1].decode("latin-1")))

    async def create(self, key: str, data: bytes) -> None:
        """See `Store.create`."""
        outcome = await self.call(_put_operation(key, (memoryview(data),)))
        if outcome.response.status == _CONFLICT:
            raise AlreadyExistsError

    async def get(self, key: str) -> bytes:
        """See `Store.get`."""
        return (await self.call(Operation("GET", key, body_limit=_MAXIMUM_OBJECT))).response.body

    async def list(self, prefix: str) -> list[str]:
        """See `Store.list`."""
        keys: list[str] = []
        parameters = [("encoding-type", "url"), ("list-type", "2"), ("prefix", prefix)]
        token: list[tuple[str, str]] = []
        for _ in range(_MAXIMUM_PAGES):
            operation = Operation("GET", "", [*parameters, *token], body_limit=_MAXIMUM_PAGE, is_success=_is_page)
            page = (await self.call(operation)).response.body
            keys += [unquote(unescape(key.decode("latin-1"))) for key in _KEY.findall(page)]
            following = _NEXT_PAGE.search(page)
            if following is None:
                return keys
            token = [("continuation-token", unescape(following[1].decode("latin-1")))]
        raise StoreError("TooManyKeys")

    async def probe_write(self) -> str:
        """See `Store.probe_write`.

        A multipart upload is begun and abandoned: it needs the permissions that storing needs (s3:PutObject,
        s3:AbortMultipartUpload) and nothing becomes visible.
        """
        try:
            upload = await self.begin_upload(_PROBE_KEY)
            await self.call(upload.abort_operation())
        except StoreError as error:
            return f"the store cannot be written: {error.code}"
        return ""

    async def close(self) -> None:
        """See `Store.close`."""
        if self._background:
            await asyncio.wait(self._background, timeout=_CLOSE_SECONDS)
        self._pool.close()

    def in_background(self, work: Coroutine[None, None, None]) -> asyncio.Future[None]:
        """Start what need not be waited for, except by `close`."""
        task = self._loop.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def call(self, operation: Operation) -> Outcome:
        """Try an operation until it is decided, or until the time is up. Raises `StoreError`.

        A response with status 412 is a decision, too, if the operation was create only.
        """
        outcome = await self._decide(operation, self._loop.time() + self.answer_seconds)
        self.health.succeeded()
        return outcome

    async def _put(self, key: str, chunks: Sequence[memoryview]) -> str:
        outcome = await self.call(_put_operation(key, chunks))
        return settle_create_only(outcome, etag_of(outcome.response))

    async def _decide(self, operation: Operation, deadline: float) -> Outcome:
        is_repeated = is_fresh = False
        failures = 0
        while True:
            keys: Keys | None = None
            verdict = Verdict.TRY_AGAIN
            try:
                keys = await self._credentials.current()
                response = await self._exchange(operation, keys, deadline, is_fresh)
            except CredentialsUnavailable as error:
                code = error.code
            except ExchangeFailed as error:
                code = error.code
                is_repeated |= error.was_sent
                if error.is_stale and not is_fresh:
                    is_fresh = True  # the server had closed it before: no reason to wait
                    continue
            else:
                if response.status == operation.status and operation.is_success(response):
                    return Outcome(response, is_repeated)
                if response.status == _CONFLICT and "if-none-match" in operation.headers:
                    return Outcome(response, is_repeated)
                code = code_of_response(response)
                verdict = judge(response.status, code)
                is_repeated |= response.status >= 500
            failures += 1
            await self._before_next_try(verdict, code, keys, failures, deadline)

    async def _exchange(self, operation: Operation, keys: Keys, deadline: float, is_fresh: bool) -> Response:
        path = self._endpoint.path + encode_path(operation.key)
        query = encode_query(operation.parameters)
        headers = {"host": self._endpoint.host_header, **operation.headers}
        headers = signed_headers(operation.method, path, query, headers, keys, self._scope, datetime.now(UTC))
        if operation.chunks or operation.method in ("PUT", "POST"):
            headers["content-length"] = str(sum(map(len, operation.chunks)))
        head = encode_head(operation.method, f"{path}?{query}" if query else path, headers)
        reader = ResponseReader(operation.body_limit)
        limits = TimeLimits(self._try_seconds, deadline, operation.is_patient)
        return await self._pool.exchange(head, operation.chunks, reader, limits, is_fresh)

    async def _before_next_try(
        self, verdict: Verdict, code: str, keys: Keys | None, failures: int, deadline: float
    ) -> None:
        """Wait until the next try. Raises `StoreError`: there is none."""
        if code != "NoSuchKey":
            self.health.failed(code, self._loop.time())
        if verdict is Verdict.FAIL or failures >= MAXIMUM_TRIES:
            raise StoreError(code)
        if verdict is Verdict.TRY_WITH_NEW_KEYS and keys is not None:
            self._credentials.refused(keys)
            if await self._are_renewed(keys):
                return
            if code == "AccessDenied":  # by a policy, then, and not because of the keys
                raise StoreError(code)
        seconds = wait_seconds(failures)
        if self._loop.time() + seconds >= deadline:
            raise StoreError(code)
        await asyncio.sleep(seconds)

    async def _are_renewed(self, keys: Keys) -> bool:
        try:
            return await self._credentials.current() != keys
        except CredentialsUnavailable:
            return False


class BucketUpload:
    """A `storescp.store.MultipartUpload` of S3."""

    def __init__(self, bucket: Bucket, loop: asyncio.AbstractEventLoop, key: str, upload_id: str) -> None:
        self._bucket = bucket
        self._loop = loop
        self._key = key
        self._upload_id = upload_id
        self._etags: dict[int, str] = {}

    def put_part(self, number: int, chunks: Sequence[memoryview]) -> asyncio.Future[None]:
        """See `MultipartUpload.put_part`."""
        return self._loop.create_task(self._put_part(number, chunks))

    def complete(self) -> asyncio.Future[str]:
        """See `MultipartUpload.complete`."""
        return self._loop.create_task(self._complete())

    def abort(self) -> asyncio.Future[None]:
        """See `MultipartUpload.abort`; what it leaves expires by the bucket's rule for unfinished uploads."""
        return self._bucket.in_background(self._abort())

    def abort_operation(self) -> Operation:
        """The operation that discards the parts."""
        return Operation("DELETE", self._key, (("uploadId", self._upload_id),), status=204)

    async def _put_part(self, number: int, chunks: Sequence[memoryview]) -> None:
        parameters = (("partNumber", str(number)), ("uploadId", self._upload_id))
        outcome = await self._bucket.call(
            Operation("PUT", self._key, parameters, chunks=chunks, is_success=is_put_confirmed)
        )
        self._etags[number] = etag_of(outcome.response)

    async def _complete(self) -> str:
        """Complete the upload, create only.

        S3 may answer 200 first and say in the body that it failed. If an answer is lost, the completion is asked for
        again: 200 and 412 prove that the object is there; NoSuchUpload proves nothing, and so is a failure.
        """
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag></Part>"
            for number, etag in sorted(self._etags.items())
        )
        body = f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{parts}</CompleteMultipartUpload>'
        outcome = await self._bucket.call(
            Operation(
                "POST",
                self._key,
                (("uploadId", self._upload_id),),
                _CREATE_ONLY,
                (memoryview(body.encode()),),
                is_success=_is_completed,
                is_patient=True,
            )
        )
        matched = _RESULT_ETAG.search(outcome.response.body)
        return settle_create_only(outcome, unescape(matched[1].decode("latin-1")).strip('"') if matched else "")

    async def _abort(self) -> None:
        try:
            await self._bucket.call(self.abort_operation())
        except StoreError:
            return


def open_bucket(
    name: str, endpoint_url: str, environment: Mapping[str, str], answer_seconds: float, try_seconds: float
) -> Bucket:
    """Open a bucket; nothing is contacted. Region and credentials are found the way AWS's SDKs find them."""
    loop = asyncio.get_running_loop()
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or "us-east-1"
    endpoint = find_endpoint(name, region, endpoint_url)
    tls = None
    if endpoint.is_tls:
        tls = ssl.create_default_context(cafile=environment.get("AWS_CA_BUNDLE") or None)
        tls.minimum_version = ssl.TLSVersion.TLSv1_2
    pool = ConnectionPool(loop, endpoint.host, endpoint.port, tls)
    credentials = Credentials(find_source(environment, loop), loop)
    return Bucket(endpoint, pool, credentials, region, answer_seconds, try_seconds)


def settle_create_only(outcome: Outcome, etag: str) -> str:
    """Return the ETag of what a create-only operation made, "" if it is not known. Raises `StoreError`.

    412 after a try that was sent whole and whose answer was lost: nobody but us writes that key, so that try made the
    object. 412 on a first try: somebody else did, and what is there is not what we were to store.
    """
    if outcome.response.status != _CONFLICT:
        return etag
    if not outcome.is_repeated:
        raise AlreadyExistsError
    return ""


def etag_of(response: Response) -> str:
    """The ETag without its quotes; "" if there is none that could be S3's."""
    matched = _ETAG.fullmatch(response.headers.get("etag", ""))
    return matched[1] if matched else ""


def is_put_confirmed(response: Response) -> bool:
    """Whether this is what S3 answers to a PUT that it has done: an ETag, and nothing else to say."""
    return bool(etag_of(response)) and not response.body.strip()


def _put_operation(key: str, chunks: Sequence[memoryview]) -> Operation:
    return Operation("PUT", key, (), _CREATE_ONLY, chunks, is_success=is_put_confirmed)


def _is_completed(response: Response) -> bool:
    return b"<CompleteMultipartUploadResult" in response.body and b"<Error>" not in response.body


def _is_page(response: Response) -> bool:
    return b"<ListBucketResult" in response.body
