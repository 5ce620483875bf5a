"""Storage commitment towards a device that has gone: its results are reported on associations of our own (ADR 1).

Whoever creates attempt n delivers; attempt n + 1 may be made after the time that n names. So any task goes on where
another one died, and no two do the same at once. A report may come twice, never not at all.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from storescp.clock import utc_now
from storescp.commitment import (
    CommitmentRequest,
    CommitmentResult,
    DeviceAddress,
    UnreadableRecordError,
    decode_not_before,
    decode_request,
    decode_result,
    encode_attempt,
    encode_delivered,
)
from storescp.device_report import report_to_device
from storescp.keys import (
    COMMITMENT_ATTEMPTS,
    COMMITMENT_DELIVERED,
    COMMITMENT_RESULTS,
    commitment_attempt_key,
    commitment_delivered_key,
    commitment_request_key,
    commitment_result_key,
)
from storescp.log import Log
from storescp.metrics import Metrics
from storescp.requestor import ReportFailed
from storescp.store import AlreadyExistsError, Store, StoreError

_ATTEMPTS_AT_ONCE: Final = 4
# From one attempt to the next; the last one for ever.
BACKOFF: Final = tuple(timedelta(seconds=seconds) for seconds in (120, 120, 300, 600, 1800, 3600))

Report = Callable[[DeviceAddress, ssl.SSLContext | None, CommitmentResult, str, str], Awaitable[int]]


class CommitmentDelivery:
    """Looks for results that nobody has reported yet, and reports them to their devices."""

    def __init__(
        self,
        store: Store,
        devices: Mapping[str, DeviceAddress],
        tls: ssl.SSLContext | None,
        metrics: Metrics,
        log: Log,
        process_id: str,
        report: Report = report_to_device,
    ) -> None:
        """`devices`: by calling AE title; `tls`: for those that ask for it."""
        self._store = store
        self._devices = devices
        self._tls = tls
        self._metrics = metrics
        self._log = log
        self._process_id = process_id
        self._report = report
        self._seen: set[str] = set()  # by the look before this one: who holds the association has had his chance
        self._complained: set[str] = set()

    async def run(self, poll_seconds: float) -> None:
        """Look every `poll_seconds`, for ever; a store that fails is asked again the next time."""
        while True:
            await asyncio.sleep(poll_seconds)
            try:
                await self.look(utc_now())
            except StoreError as error:
                self._log.warning("commitment results not listed", error=error.code)

    async def look(self, utc_now: datetime) -> None:
        """Report what is due. Raises StoreError: the results cannot be listed."""
        ids = await self._ids(COMMITMENT_RESULTS)
        if not ids:
            self._seen.clear()
            self._complained.clear()
            return
        undelivered = ids - await self._ids(COMMITMENT_DELIVERED)
        self._complained &= undelivered
        known, self._seen = self._seen & undelivered, undelivered
        limit = asyncio.Semaphore(_ATTEMPTS_AT_ONCE)
        await asyncio.gather(*(self._try(limit, commitment, utc_now) for commitment in sorted(known)))

    async def _ids(self, prefix: str) -> set[str]:
        keys = await self._store.list(prefix)
        return {key.removeprefix(prefix).removesuffix(".json") for key in keys}

    async def _try(self, limit: asyncio.Semaphore, commitment: str, utc_now: datetime) -> None:
        async with limit:
            try:
                await self._deliver_if_due(commitment, utc_now)
            except AlreadyExistsError:
                pass  # another task is at it, or has done it
            except StoreError as error:
                self._log.warning("commitment not delivered", commitment=commitment, error=error.code)
            except UnreadableRecordError as error:
                self._complain(commitment, str(error))

    async def _deliver_if_due(self, commitment: str, utc_now: datetime) -> None:
        attempts = await self._store.list(f"{COMMITMENT_ATTEMPTS}{commitment}/")
        if attempts and utc_now < decode_not_before(await self._store.get(attempts[-1])):
            return
        request = decode_request(await self._store.get(commitment_request_key(commitment)))
        address = self._devices.get(request.calling_ae_title)
        if address is None:
            self._complain(commitment, "COMMITMENT_DEVICES has no address for the device", request)
            return
        number = _number(attempts[-1]) + 1 if attempts else 1
        not_before = utc_now + BACKOFF[min(number, len(BACKOFF)) - 1]
        attempt = encode_attempt(commitment, number, self._process_id, utc_now, not_before)
        await self._store.create(commitment_attempt_key(commitment, number), attempt)
        result = decode_result(await self._store.get(commitment_result_key(commitment)), request)
        await self._deliver(commitment, request, result, address)

    async def _deliver(
        self, commitment: str, request: CommitmentRequest, result: CommitmentResult, address: DeviceAddress
    ) -> None:
        try:
            status = await self._report(address, self._tls, result, request.called_ae_title, request.calling_ae_title)
        except ReportFailed as failure:
            self._metrics.count("CommitmentsUndelivered")
            self._log.warning(
                "commitment not delivered",
                commitment=commitment,
                calling_ae_title=request.calling_ae_title,
                address=f"{address.host}:{address.port}",
                reason=str(failure),
            )
            return
        await self._store.create(commitment_delivered_key(commitment), encode_delivered(commitment, utc_now(), status))
        self._metrics.count("CommitmentsDelivered")
        self._log.info("commitment delivered", commitment=commitment, status=f"0x{status:04X}", association="new")

    def _complain(self, commitment: str, reason: str, request: CommitmentRequest | None = None) -> None:
        """What no attempt can help: one line each, and the metric at every look."""
        self._metrics.count("CommitmentsUndelivered")
        if commitment not in self._complained:
            self._complained.add(commitment)
            title = request.calling_ae_title if request is not None else ""
            self._log.warning("commitment not delivered", commitment=commitment, calling_ae_title=title, reason=reason)


def _number(attempt_key: str) -> int:
    digits = attempt_key.rpartition("/")[2].removesuffix(".json")
    if not digits.isdecimal():
        raise UnreadableRecordError("a commitment attempt's key has no number")
    return int(digits)
