"""Send one odd object to a receiver, and say in a few words what became of it."""

import contextlib
import json
from pathlib import Path

from tests.testkit.odd_objects.case import OddObject
from tests.testkit.raw_sender import RawSender, associate_request, pdu, pdv

STORED = "stored"
TABLE = Path(__file__).parent / "outcomes.json"
_ACCEPT, _REJECT, _DATA, _ABORT = 2, 3, 4, 7


def send(odd: OddObject, port: int, seconds: float = 30) -> str:
    """Send it; returns `acknowledged`, a status in hexadecimal, or how the association ended."""
    try:
        with RawSender(port, associate=False) as sender:
            sender.socket.settimeout(seconds)
            return _converse(odd, sender)
    except TimeoutError:
        return "no answer"
    except ConnectionError:
        return "connection closed"


def _converse(odd: OddObject, sender: RawSender) -> str:
    sender.send(associate_request(contexts=odd.contexts, user_items=odd.user_items))
    pdu_type, body = sender.receive_pdu()
    if pdu_type != _ACCEPT:
        return _end(pdu_type, "association rejected")
    if _result_of_first_context(body):
        return "context refused"
    with contextlib.suppress(ConnectionError):  # it may be aborted while we send: the abort says so
        _send_message(odd, sender)
    pdu_type, _ = answer = sender.receive_pdu()
    if pdu_type != _DATA:
        return _end(pdu_type, "aborted")
    status = int.from_bytes(_status(answer[1]), "little")
    sender.send(odd.release)
    return "acknowledged" if status == 0 else f"{status:04X}"


def _end(pdu_type: int, otherwise: str) -> str:
    return {_REJECT: "association rejected", _ABORT: "aborted", 0: "connection closed"}.get(pdu_type, otherwise)


def _send_message(odd: OddObject, sender: RawSender) -> None:
    for control, data in ((1, odd.command), (0, odd.data)):
        size = odd.pdv_bytes if odd.pdv_bytes > 1 or len(data) < 10_000 else 100
        size = min(size, 16_000)
        starts = range(0, max(len(data), 1), size)
        pieces = []
        for start in starts:
            is_last = start + size >= len(data)
            pieces.append(pdu(0x04, pdv(1, control | 2 * is_last, data[start : start + size])))
        sender.send(b"".join(pieces))


def _result_of_first_context(body: bytes) -> int:
    """Result of presentation context 1 (PS3.8 9.3.3.2); 255 if it was not answered."""
    position = 68
    while position + 4 <= len(body):
        length = int.from_bytes(body[position + 2 : position + 4], "big")
        if body[position] == 0x21 and body[position + 4] == 1:
            return body[position + 6]
        position += 4 + length
    return 255


def _status(body: bytes) -> bytes:
    """The value of Status (0000,0900) in a P-DATA-TF PDU that holds a whole response."""
    position = 6
    while position + 8 <= len(body):
        length = int.from_bytes(body[position + 4 : position + 8], "little")
        if body[position : position + 4] == b"\0\0\0\x09":
            return body[position + 8 : position + 8 + length]
        position += 8 + length
    return b"\xff\xff"


def read_outcomes() -> dict[str, dict[str, str]]:
    """The committed table: case, receiver, outcome."""
    table: dict[str, dict[str, str]] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table
