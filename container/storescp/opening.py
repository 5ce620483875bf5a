"""Opens what the settings name: the bucket, or a folder where there is none. Each is imported only where it is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from storescp.settings import Settings
from storescp.store import Store

# Of DIMSE_TIMEOUT: the rest is for the way of our answer, and a request that hangs is tried once more.
_ANSWER_SHARE: Final = 0.9
_TRY_SHARE: Final = 0.4


def prepare_folder(settings: Settings) -> None:
    """Make the folder, if there is no bucket. Raises `OSError`: objects cannot be written there."""
    if not settings.dicom_bucket:
        from storescp.folder import prepare

        prepare(Path(settings.storage_dir))


def open_store(settings: Settings, environment: Mapping[str, str]) -> Store:
    """Open the bucket or the folder that the settings name; to be called in the event loop. Nothing is contacted."""
    answer_seconds = settings.dimse_timeout * _ANSWER_SHARE
    if settings.dicom_bucket:
        from storescp.s3.bucket import open_bucket

        try_seconds = settings.dimse_timeout * _TRY_SHARE
        return open_bucket(settings.dicom_bucket, settings.endpoint_url, environment, answer_seconds, try_seconds)
    from storescp.folder import Folder

    return Folder(Path(settings.storage_dir), answer_seconds)
