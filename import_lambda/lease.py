"""One run at a time: a lease in the ledger, which saves work and decides nothing."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import Any

from import_lambda.aws import Aws, Item
from import_lambda.errors import AwsError, Conflict, LeaseLost, TryLater
from import_lambda.settings import LEASE_SECONDS


class Lease:
    """Lets one run work at a time, and lets a wake-up that finds it working leave a mark.

    A mark is a higher revision: the holder's next conditional write fails, it sees that the lease still is its own, and
    makes one more pass. So no wake-up is lost between "nothing more to do" and "released".
    """

    def __init__(self, aws: Aws) -> None:
        self.aws, self.owner, self.revision, self.expires = aws, uuid.uuid4().hex, 0, 0
        self.wake_up_pending = False
        self.is_inherited = False  # the last holder did not give it back: it died, or a call took too long

    def read(self) -> Item:
        """Return the lease item; a malformed one counts as free."""
        item = self.aws.get_item("LEASE", "LEASE") or {}
        good = isinstance(item.get("owner"), str) and type(item.get("revision")) is type(item.get("expires")) is int
        return item if good else {"owner": "", "expires": 0, "revision": item.get("revision", 0)}

    def put(self, owner: str, expires: int, seen: Any) -> None:
        """Write the lease if its revision still is `seen`.

        Raises Conflict: it is not.
        """
        revision = seen + 1 if type(seen) is int else 1
        item = {"pk": "LEASE", "sk": "LEASE", "owner": owner, "expires": expires, "revision": revision}
        self.aws.put_item(item, "revision", "=", seen)
        self.revision, self.expires = revision, expires

    def take(self) -> bool:
        """Take the lease; or leave a mark for the run that holds it, and return False."""
        for _ in range(10):
            item, now = self.read(), int(self.aws.now())
            if item["owner"] == self.owner:  # it was taken by a call whose answer was lost
                self.revision, self.expires = item["revision"], item["expires"]
                return True
            try:
                if item["owner"] and item["expires"] > now:
                    self.put(item["owner"], item["expires"], item["revision"])
                    return False
                self.put(self.owner, now + LEASE_SECONDS, item["revision"])
                self.is_inherited = bool(item["owner"])
                return True
            except (Conflict, TryLater):
                continue
        return False

    def keep(self) -> None:
        """Renew the lease when half of it is over.

        Raises LeaseLost: another run has it.
        """
        now = int(self.aws.now())
        if self.expires - now < LEASE_SECONDS / 2:
            self.write(self.owner, now + LEASE_SECONDS)

    def release(self) -> bool:
        """Give the lease back; return False if there was a wake-up meanwhile: then it still is ours."""
        if not self.wake_up_pending:
            self.write("", 0)
        return not self.wake_up_pending

    def drop(self) -> None:
        """Give the lease back in whatever state the run is."""
        with suppress(AwsError):
            item = self.read()
            if item["owner"] == self.owner:
                self.put("", 0, item["revision"])

    def write(self, owner: str, expires: int) -> None:
        """Write the lease, or note that there was a wake-up.

        Raises LeaseLost: another run has it.
        """
        try:
            self.put(owner, expires, self.revision)
        except Conflict:
            item = self.read()
            if item["owner"] != self.owner:
                raise LeaseLost from None
            self.wake_up_pending, self.revision = True, item["revision"]
