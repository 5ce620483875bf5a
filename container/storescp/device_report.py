"""Deliver one storage commitment result to a device, on an association of our own: the network's half of it."""

import asyncio
import ssl
from contextlib import suppress
from typing import Final

from storescp.commitment import CommitmentResult, DeviceAddress
from storescp.requestor import Reporter, ReportFailed, Stage

REPORT_SECONDS: Final = 60.0
_READ_BYTES: Final = 64 * 1024
_RELEASE_SECONDS: Final = 5.0


async def report_to_device(
    address: DeviceAddress,
    tls: ssl.SSLContext | None,
    result: CommitmentResult,
    calling_ae_title: str,
    called_ae_title: str,
) -> int:
    """Report a result and return the status of the device's response.

    Raises ReportFailed: the device cannot be reached, or did not take it.
    """
    reporter = Reporter(result, calling_ae_title, called_ae_title)
    try:
        async with asyncio.timeout(REPORT_SECONDS):
            reader, writer = await asyncio.open_connection(
                address.host, address.port, ssl=tls if address.is_tls else None
            )
            try:
                return await _converse(reporter, reader, writer)
            finally:
                writer.close()
    except TimeoutError:
        raise ReportFailed(f"the device did not answer within {REPORT_SECONDS:g} seconds") from None
    except ssl.SSLError as error:
        raise ReportFailed(f"the device's TLS connection failed: {error.reason}") from None
    except OSError as error:
        raise ReportFailed(f"the device cannot be reached: {error.strerror or type(error).__name__}") from None


async def _converse(reporter: Reporter, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    writer.write(reporter.begin())
    while reporter.status is None:
        await _exchange(reporter, reader, writer)
    with suppress(TimeoutError, ReportFailed, OSError):  # it has answered: how it releases does not matter
        async with asyncio.timeout(_RELEASE_SECONDS):
            while reporter.stage is not Stage.OVER:
                await _exchange(reporter, reader, writer)
    return reporter.status


async def _exchange(reporter: Reporter, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    data = await reader.read(_READ_BYTES)
    if not data:
        raise ReportFailed(f"the device closed the connection while we waited for {reporter.stage.value}")
    try:
        writer.write(reporter.receive(data))
        await writer.drain()
    except ReportFailed:
        writer.write(reporter.abort())
        raise
