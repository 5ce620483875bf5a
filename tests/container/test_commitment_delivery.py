"""Who delivers a result, when, and after whose death; covers commitment_delivery.py. The store is a real folder."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storescp.commitment import CommitmentResult, DeviceAddress, encode_request, new_request
from storescp.commitment_delivery import BACKOFF, CommitmentDelivery
from storescp.folder import Folder, prepare
from storescp.keys import commitment_request_key
from storescp.log import Log
from storescp.metrics import Metrics
from storescp.requestor import ReportFailed
from storescp.store import Store, StoreError
from tests.testkit.commitment_devices import delivered, write_result
from tests.testkit.raw_sender import CT_IMAGE_STORAGE

AT = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
COMMITMENT = "CT1-1.2.99"


class Device:
    """What takes reports: it fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.reports: list[tuple[DeviceAddress, CommitmentResult, str, str]] = []
        self.calls = 0

    async def report(
        self, address: DeviceAddress, tls: ssl.SSLContext | None, result: CommitmentResult, calling: str, called: str
    ) -> int:
        """Take a report, or fail."""
        self.calls += 1
        await asyncio.sleep(0)
        if self.calls <= self.failures:
            raise ReportFailed("the device cannot be reached: refused")
        self.reports.append((address, result, calling, called))
        return 0


class Killed(BaseException):
    """The process is gone at this call."""


class MortalStore:
    """A folder whose process dies at the n-th call, before or after its effect."""

    def __init__(self, folder: Store, dies_at: int, after_effect: bool) -> None:
        self._folder = folder
        self._left = dies_at
        self._after_effect = after_effect

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        method = getattr(self._folder, name)

        async def call(*arguments: object) -> object:
            self._left -= 1
            if not self._left and not self._after_effect:
                raise Killed
            result = await method(*arguments)
            if not self._left:
                raise Killed
            return result

        return call


def folder_store(root: Path) -> Folder:
    prepare(root)
    return Folder(root, 30)


def delivery(store: Store, device: Device, devices: dict[str, DeviceAddress] | None = None) -> CommitmentDelivery:
    addresses = {"CT1": DeviceAddress("ct1.example", 104)} if devices is None else devices
    return CommitmentDelivery(store, addresses, None, Metrics(""), Log("ERROR"), "9f3a61c2", device.report)


async def ask(store: Store, root: Path, title: str = "CT1", transaction: str = "1.2.99") -> None:
    request = new_request(transaction, title, "STORESCP", ((CT_IMAGE_STORAGE, "1.2.3"),), AT, 24)
    await store.create(commitment_request_key(request.commitment_id), encode_request(request))
    write_result(root, request.commitment_id, ["1.2.3"])


def attempts(root: Path) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted((root / f"commitments/attempts/{COMMITMENT}").glob("*"))]


def test_a_result_is_left_to_whoever_holds_the_association_and_then_delivered_once(tmp_path: Path) -> None:
    async def run() -> None:
        store, device = folder_store(tmp_path), Device()
        await ask(store, tmp_path)
        deliverer = delivery(store, device)
        await deliverer.look(AT)
        assert device.calls == 0
        for _ in range(3):
            await deliverer.look(AT)
        [(address, result, calling, called)] = device.reports
        assert address == DeviceAddress("ct1.example", 104)
        assert result == CommitmentResult("1.2.99", ((CT_IMAGE_STORAGE, "1.2.3"),), ())
        assert (calling, called) == ("STORESCP", "CT1")
        record = delivered(tmp_path, COMMITMENT)
        assert record is not None
        assert record["status"] == 0

    asyncio.run(run())


def test_a_device_that_cannot_be_reached_is_tried_again_ever_more_rarely_and_never_given_up(tmp_path: Path) -> None:
    async def run() -> None:
        failures = len(BACKOFF) + 3
        store, device = folder_store(tmp_path), Device(failures)
        await ask(store, tmp_path)
        deliverer = delivery(store, device)
        now = AT
        await deliverer.look(now)
        for number in range(failures + 1):
            await deliverer.look(now)
            assert device.calls == number + 1
            wait = BACKOFF[min(number, len(BACKOFF) - 1)]
            await deliverer.look(now + wait - timedelta(seconds=1))
            assert device.calls == number + 1
            now += wait
        assert len(device.reports) == 1
        assert [record["attempt"] for record in attempts(tmp_path)] == list(range(1, failures + 2))

    asyncio.run(run())


def test_of_many_tasks_one_delivers(tmp_path: Path) -> None:
    async def run() -> None:
        store, device = folder_store(tmp_path), Device()
        await ask(store, tmp_path)
        deliverers = [delivery(store, device) for _ in range(8)]
        for _ in range(2):
            await asyncio.gather(*(deliverer.look(AT) for deliverer in deliverers))
        assert len(device.reports) == 1
        assert len(attempts(tmp_path)) == 1

    asyncio.run(run())


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("dies_at", range(1, 12))
def test_a_task_may_die_at_any_call_and_the_device_is_told(tmp_path: Path, dies_at: int, after_effect: bool) -> None:
    async def run() -> None:
        folder, device = folder_store(tmp_path), Device()
        await ask(folder, tmp_path)
        mortal = MortalStore(folder, dies_at, after_effect)
        doomed = delivery(mortal, device)  # type: ignore[arg-type]
        try:
            for _ in range(2):
                await doomed.look(AT)
        except Killed:
            pass
        heir = delivery(folder, device)
        for minutes in range(0, 10, 2):
            await heir.look(AT + timedelta(minutes=minutes))
        assert 1 <= len(device.reports) <= 2
        assert delivered(tmp_path, COMMITMENT) is not None

    asyncio.run(run())


def test_what_cannot_be_delivered_keeps_nobody_else_waiting(tmp_path: Path) -> None:
    async def run() -> None:
        store, device = folder_store(tmp_path), Device()
        await ask(store, tmp_path, "NOBODY")
        await ask(store, tmp_path, transaction="1.2.7")
        await ask(store, tmp_path)
        (tmp_path / "commitments/requests/CT1-1.2.7.json").write_text("{}")
        (tmp_path / "commitments/results/CT1-1.2.8.json").write_text("[]")  # and no request at all
        deliverer = delivery(store, device)
        for _ in range(3):
            await deliverer.look(AT)
        assert [result.transaction_uid for _, result, _, _ in device.reports] == ["1.2.99"]

    asyncio.run(run())


class FailingStore:
    """A store that fails at its first calls."""

    def __init__(self, folder: Store, failures: int) -> None:
        self._folder = folder
        self._failures = failures

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        async def call(*arguments: object) -> object:
            if self._failures:
                self._failures -= 1
                raise StoreError("SlowDown")
            method: Callable[..., Awaitable[object]] = getattr(self._folder, name)
            return await method(*arguments)

        return call


def test_a_store_that_fails_is_asked_again_at_the_next_look(tmp_path: Path) -> None:
    async def run() -> None:
        folder = folder_store(tmp_path)
        await ask(folder, tmp_path)
        deliverer = delivery(FailingStore(folder, 3), device)  # type: ignore[arg-type]
        task = asyncio.create_task(deliverer.run(0.001))
        while delivered(tmp_path, COMMITMENT) is None:
            assert not task.done()
            await asyncio.sleep(0.01)
        task.cancel()

    device = Device()
    asyncio.run(run())
    assert len(device.reports) == 1
