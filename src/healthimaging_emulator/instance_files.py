"""The bytes of imported instances, on disk: memory would not do for a few thousand studies."""

from __future__ import annotations

import os
import tempfile
import threading
import weakref


class InstanceFiles:
    """Contents by their SHA-256, one after the other in a file that has no name and so goes with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._end = 0
        self._places: dict[str, tuple[int, int]] = {}  # offset and length in bytes

    def keep(self, sha256: str, data: bytes | memoryview) -> None:
        """Keep `data` under its digest; the same bytes twice are kept once. Raises OSError: the disk is full."""
        with self._lock:
            if sha256 in self._places:
                return
            written = 0
            while written < len(data):
                written += os.pwrite(self._opened(), data[written:], self._end + written)
            self._places[sha256] = (self._end, len(data))
            self._end += len(data)

    def read(self, sha256: str) -> bytes | None:
        """The bytes of that digest, None when they were not kept."""
        with self._lock:
            if sha256 not in self._places:
                return None
            offset, length = self._places[sha256]
            return os.pread(self._opened(), length, offset)

    def _opened(self) -> int:
        if self._descriptor is None:
            self._descriptor, path = tempfile.mkstemp(prefix="healthimaging-emulator-")
            os.unlink(path)  # noqa: PTH108 - a path is made of it nowhere else
            weakref.finalize(self, os.close, self._descriptor)
        return self._descriptor
