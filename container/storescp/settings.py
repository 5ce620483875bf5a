"""The receiver's environment: every variable's name, default and meaning is declared here, once.

`VARIABLES` is what the template, the local stack and the documentation read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from storescp.commitment import DeviceAddress
from storescp.uids import is_usable_uid

MIB: Final = 1024 * 1024
SMALLEST_WORKER_MIB: Final = 32


class SettingError(ValueError):
    """A variable whose value is not allowed; the message names variable, value and what is allowed."""


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable; `allowed` says in words what its values may be."""

    name: str
    default: str
    allowed: str
    meaning: str


VARIABLES: Final = (
    Variable("DICOM_BUCKET", "", "a bucket's name", "landing bucket; none: the folder STORAGE_DIR"),
    Variable("STORAGE_DIR", "/app/storage", "a folder's path", "where objects go if there is no bucket"),
    Variable("BIND_ADDRESS", "0.0.0.0", "an IP address of this machine", "address of both ports"),
    Variable("SCP_PORT", "11112", "0 to 65535; 0: any free port", "port for DICOM"),
    Variable("HEALTH_PORT", "8080", "0 to 65535; 0: any free port", "port for /healthz and /readyz"),
    Variable("AE_TITLE", "STORESCP", "1 to 16 printable characters, no backslash", "our AE title"),
    Variable("REQUIRE_CALLED_AE_TITLE", "false", "true or false", "whether senders must call AE_TITLE"),
    Variable("REQUIRE_CALLING_AE_TITLE", "", "AE titles, comma between them", "who may send; none: anybody"),
    Variable("SUPPORTED_SOP_CLASS_UIDS", "", "UIDs, comma between them", "SOP classes accepted; none: all"),
    Variable("MAXIMUM_ASSOCIATIONS", "300", "1 to 100000", "associations at once, of all workers"),
    Variable("MAXIMUM_PDU_SIZE", "262144", "0 (unlimited) or 4096 to 4294967295", "bytes of a P-DATA-TF PDU we offer"),
    Variable("DIMSE_TIMEOUT", "60", "1 to 3600", "seconds in which a request is answered"),
    Variable("NETWORK_TIMEOUT", "90", "1 to 86400", "seconds after which a silent association is aborted"),
    Variable("ARTIM_TIMEOUT", "10", "1 to 3600", "seconds in which a connection must request an association"),
    Variable(
        "MINIMUM_BYTES_PER_SECOND",
        "1000",
        "0 to 1000000000",
        "an association is aborted if less comes of an object, two minutes long",
    ),
    Variable("BATCH_QUIET_SECONDS", "5", "0.1 to 3600", "a batch is closed when nothing came for so long"),
    Variable("BATCH_RELEASED_SECONDS", "1", "0.1 to 3600", "the same, once every association has been released"),
    Variable("BATCH_MAX_AGE_SECONDS", "60", "1 to 86400", "a batch is closed when it is so old"),
    Variable("BATCH_MAX_INSTANCES", "4500", "1 to 5000", "a batch is closed when it has so many instances"),
    Variable("BATCH_MAX_BYTES", "8000000000", "1 to 10000000000", "a batch is closed before it exceeds this"),
    Variable("MEMORY_BUDGET_MIB", "192", "32 to 1048576, at least 32 per worker", "MiB of image data in memory"),
    Variable(
        "WORKERS", "0", "0 to 256; 0: one per core that MEMORY_BUDGET_MIB allows", "processes that share the port"
    ),
    Variable("STOP_SECONDS", "110", "1 to 86400", "seconds from SIGTERM until the last association is cut"),
    Variable("STACK_NAME", "", "a CloudFormation stack's name", "dimension StackName of the metrics"),
    Variable("TLS_CERTIFICATE", "", "PEM text or a PEM file's path", "certificate (chain): SCP_PORT speaks TLS only"),
    Variable("TLS_PRIVATE_KEY", "", "PEM text or a PEM file's path", "its key, without a passphrase"),
    Variable(
        "TLS_CLIENT_CA", "", "PEM text or a PEM file's path", "who signs client certificates; none: not asked for"
    ),
    Variable(
        "REQUIRE_CERTIFICATE_AE_TITLE",
        "false",
        "true or false; true needs TLS_CLIENT_CA",
        "whether the calling AE title must be one that the client certificate names",
    ),
    Variable(
        "COMMITMENT_DEVICES",
        "",
        "AE title=host:port or AE title=tls://host:port, comma between them",
        "where devices take storage commitment reports",
    ),
    Variable("COMMITMENT_TIMEOUT_HOURS", "24", "0.01 to 720", "hours until what is not imported counts as failed"),
    Variable("COMMITMENT_POLL_SECONDS", "30", "0.1 to 3600", "seconds between two looks for results to report"),
    Variable("LOG_LEVEL", "INFO", "DEBUG, INFO, WARNING or ERROR", "least severe log lines that are written"),
    Variable("AWS_ENDPOINT_URL", "", "an http:// or https:// address", "endpoint instead of AWS's own"),
    Variable("AWS_ENDPOINT_URL_S3", "", "an http:// or https:// address", "the same, for S3 alone"),
)
_BY_NAME: Final = {variable.name: variable for variable in VARIABLES}
_TITLE = re.compile(r"[ -\[\]-~]{1,16}")
_DEVICE = re.compile(r"(?P<tls>tls://)?(?P<host>[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]):(?P<port>[0-9]{1,5})")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class CommitmentSettings:
    """The variables of storage commitment (`COMMITMENT_DEVICES` and its like)."""

    devices: Mapping[str, DeviceAddress]  # by calling AE title
    timeout_hours: float
    poll_seconds: float


@dataclass(frozen=True, slots=True)
class Settings:
    """The environment, read and checked; fields carry the variables' names."""

    dicom_bucket: str
    storage_dir: str
    bind_address: str
    scp_port: int
    health_port: int
    ae_title: str
    require_called_ae_title: bool
    require_calling_ae_title: frozenset[str]
    supported_sop_class_uids: frozenset[str]
    maximum_associations: int
    maximum_pdu_size: int
    dimse_timeout: float
    network_timeout: float
    artim_timeout: float
    minimum_bytes_per_second: int
    batch_quiet_seconds: float
    batch_released_seconds: float
    batch_max_age_seconds: float
    batch_max_instances: int
    batch_max_bytes: int
    memory_budget_mib: int
    workers: int
    stop_seconds: float
    stack_name: str
    tls_certificate: str
    tls_private_key: str
    tls_client_ca: str
    require_certificate_ae_title: bool
    commitments: CommitmentSettings
    log_level: str
    endpoint_url: str


def read_settings(environment: Mapping[str, str], cores: int) -> Settings:
    """Read and check every variable; raises `SettingError` for the first that is not allowed.

    `cores` is the number of processes that WORKERS=0 stands for. An empty value is a missing one.
    """
    reader = _Reader(environment)
    workers = _read_workers(reader, cores)
    return Settings(
        dicom_bucket=reader.matching("DICOM_BUCKET", _BUCKET),
        storage_dir=reader.text("STORAGE_DIR"),
        bind_address=reader.text("BIND_ADDRESS"),
        scp_port=reader.whole("SCP_PORT", 0, 65535),
        health_port=reader.whole("HEALTH_PORT", 0, 65535),
        ae_title=reader.titles("AE_TITLE", 1)[0],
        require_called_ae_title=reader.boolean("REQUIRE_CALLED_AE_TITLE"),
        require_calling_ae_title=frozenset(reader.titles("REQUIRE_CALLING_AE_TITLE")),
        supported_sop_class_uids=frozenset(reader.uids("SUPPORTED_SOP_CLASS_UIDS")),
        maximum_associations=reader.whole("MAXIMUM_ASSOCIATIONS", 1, 100_000),
        maximum_pdu_size=reader.whole("MAXIMUM_PDU_SIZE", 4096, 0xFFFFFFFF, or_zero=True),
        dimse_timeout=reader.seconds("DIMSE_TIMEOUT", 1, 3600),
        network_timeout=reader.seconds("NETWORK_TIMEOUT", 1, 86400),
        artim_timeout=reader.seconds("ARTIM_TIMEOUT", 1, 3600),
        minimum_bytes_per_second=reader.whole("MINIMUM_BYTES_PER_SECOND", 0, 1_000_000_000),
        batch_quiet_seconds=reader.seconds("BATCH_QUIET_SECONDS", 0.1, 3600),
        batch_released_seconds=reader.seconds("BATCH_RELEASED_SECONDS", 0.1, 3600),
        batch_max_age_seconds=reader.seconds("BATCH_MAX_AGE_SECONDS", 1, 86400),
        batch_max_instances=reader.whole("BATCH_MAX_INSTANCES", 1, 5000),
        batch_max_bytes=reader.whole("BATCH_MAX_BYTES", 1, 10_000_000_000),
        memory_budget_mib=reader.whole("MEMORY_BUDGET_MIB", SMALLEST_WORKER_MIB * workers, 1024 * 1024),
        workers=workers,
        stop_seconds=reader.seconds("STOP_SECONDS", 1, 86400),
        stack_name=reader.text("STACK_NAME"),
        tls_certificate=reader.not_empty("TLS_CERTIFICATE"),
        tls_private_key=reader.not_empty("TLS_PRIVATE_KEY"),
        tls_client_ca=reader.not_empty("TLS_CLIENT_CA"),
        require_certificate_ae_title=_read_require_certificate_ae_title(reader),
        commitments=_read_commitments(reader),
        log_level=reader.choice("LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR")),
        endpoint_url=reader.url("AWS_ENDPOINT_URL_S3") or reader.url("AWS_ENDPOINT_URL"),
    )


def _read_workers(reader: "_Reader", cores: int) -> int:
    affordable = reader.whole("MEMORY_BUDGET_MIB", SMALLEST_WORKER_MIB, 1024 * 1024) // SMALLEST_WORKER_MIB
    return reader.whole("WORKERS", 0, 256) or min(cores, affordable)


def _read_require_certificate_ae_title(reader: "_Reader") -> bool:
    is_required = reader.boolean("REQUIRE_CERTIFICATE_AE_TITLE")
    if is_required and not reader.text("TLS_CLIENT_CA"):
        raise reader.refusal("REQUIRE_CERTIFICATE_AE_TITLE")
    return is_required


def _read_commitments(reader: "_Reader") -> CommitmentSettings:
    return CommitmentSettings(
        devices=reader.devices("COMMITMENT_DEVICES"),
        timeout_hours=reader.seconds("COMMITMENT_TIMEOUT_HOURS", 0.01, 720),
        poll_seconds=reader.seconds("COMMITMENT_POLL_SECONDS", 0.1, 3600),
    )


class _Reader:
    """Reads single variables; every refusal is worded in one place."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str) -> str:
        return self._environment.get(name, "").strip() or _BY_NAME[name].default

    def not_empty(self, name: str) -> str:
        """A value that must say something where it is named: an empty secret must not open a port to everybody."""
        if name in self._environment and not self._environment[name].strip():
            raise self.refusal(name)
        return self.text(name)

    def refusal(self, name: str) -> SettingError:
        return SettingError(f"{name}={self.text(name)!r} is not allowed: it must be {_BY_NAME[name].allowed}")

    def matching(self, name: str, pattern: re.Pattern[str]) -> str:
        value = self.text(name)
        if value and not pattern.fullmatch(value):
            raise self.refusal(name)
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = self.text(name).upper()
        if value not in choices:
            raise self.refusal(name)
        return value

    def boolean(self, name: str) -> bool:
        value = self.text(name).lower()
        if value not in ("true", "false"):
            raise self.refusal(name)
        return value == "true"

    def whole(self, name: str, least: int, most: int, or_zero: bool = False) -> int:
        value = self.text(name)
        if not re.fullmatch(r"[0-9]{1,12}", value):
            raise self.refusal(name)
        number = int(value)
        if not (least <= number <= most or (or_zero and not number)):
            raise self.refusal(name)
        return number

    def seconds(self, name: str, least: float, most: float) -> float:
        value = self.text(name)
        if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value) or not least <= float(value) <= most:
            raise self.refusal(name)
        return float(value)

    def titles(self, name: str, most: int | None = None) -> list[str]:
        titles = self._list(name)
        if any(not _TITLE.fullmatch(title) for title in titles) or (most and len(titles) != most):
            raise self.refusal(name)
        return titles

    def uids(self, name: str) -> list[str]:
        uids = self._list(name)
        if not all(map(is_usable_uid, uids)):
            raise self.refusal(name)
        return uids

    def devices(self, name: str) -> dict[str, DeviceAddress]:
        devices: dict[str, DeviceAddress] = {}
        for entry in self._list(name):
            title, _, address = (part.strip() for part in entry.partition("="))
            match = _DEVICE.fullmatch(address)
            if not _TITLE.fullmatch(title) or match is None or not 0 < int(match["port"]) < 65536 or title in devices:
                raise self.refusal(name)
            devices[title] = DeviceAddress(match["host"].strip("[]"), int(match["port"]), match["tls"] is not None)
        return devices

    def url(self, name: str) -> str:
        return self.matching(name, re.compile(r"https?://[^\s/]+.*"))

    def _list(self, name: str) -> list[str]:
        """The parts of a list; one that is there and has none, as commas or spaces alone, is refused, not ignored."""
        parts = [part.strip() for part in self.text(name).split(",") if part.strip()]
        if not parts and self._environment.get(name):
            raise self.refusal(name)
        return parts
