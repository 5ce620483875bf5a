"""Where is that study, that image, that batch: asked of the facts in the order in which an image travels.

The order matters. The importer writes into the ledger before it deletes an object, so who reads the bucket first and
the ledger afterwards overlooks nothing that was acknowledged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from storescp_cfn.account import gathering, keys, ledger, moments
from storescp_cfn.account.deployment import Deployment
from storescp_cfn.account.errors import AccountError
from storescp_cfn.account.ledger import Ledger
from storescp_cfn.account.screen import Level, Line, Screen, Table
from storescp_cfn.account.words import are, have, were

# The importer looks through all of the landing bucket once a day, and enters what nobody has claimed.
LOOK_BACK = timedelta(days=2)
MOST_FOLDERS = 3_000
STUDY_COUNTS = ("received", "imported", "quarantined", "non_primary", "warned", "missing")
SEND_AGAIN = "send it again from the device"


@dataclass(frozen=True)
class StudyFacts:
    """What is known about one study. landed: images still in the landing bucket, by batch."""

    study_instance_uid: str
    landed: Counter[str] = field(default_factory=Counter)
    parts: Sequence[ledger.Item] = ()
    image_sets: Sequence[str] = ()

    @property
    def counts(self) -> Counter[str]:
        """The sum over the batches that the study came with."""
        return Counter({name: sum(ledger.count(part, name) for part in self.parts) for name in STUDY_COUNTS})


def study(deployment: Deployment, study_instance_uid: str, utc_now: datetime | None = None) -> Screen:
    """`--study UID`. Raises AccountError: when a fact cannot be read: then nothing may be said about the others."""
    now = utc_now or datetime.now(UTC)
    found = read_study(deployment, study_instance_uid, now)
    lines = study_lines(found, now)
    worst = max(line.level for line in lines)
    arrived = "it has arrived, and not all of it is imported yet" if found.landed else "it is here"
    if lines[0].subject == "not_here":
        answer = "not here"
    else:
        answer = {Level.OK: arrived, Level.WARNING: "look at it", Level.STOP: "look at it now"}[worst]
    return Screen(
        f"Study {study_instance_uid}: {answer}.",
        lines,
        [_parts_table(found)],
        {
            "study_instance_uid": study_instance_uid,
            "landed": sum(found.landed.values()),
            **found.counts,
            "batches": [ledger.text(part, "batch") for part in found.parts],
            "image_sets": list(found.image_sets),
        },
    )


def read_study(deployment: Deployment, study_instance_uid: str, utc_now: datetime) -> StudyFacts:
    """The facts, in the order of the journey: landing bucket, ledger, HealthImaging."""
    name, book = keys.safe_name(study_instance_uid), ledger.of(deployment)
    landed = landed_images(deployment, book, name, utc_now)
    parts = list(book.query(f"STUDY#{name}", "BATCH#"))
    image_sets = search(deployment, {"DICOMStudyInstanceUID": study_instance_uid})
    return StudyFacts(study_instance_uid, landed, parts, [str(row["imageSetId"]) for row in image_sets])


def landed_images(deployment: Deployment, book: Ledger, study: str, utc_now: datetime) -> Counter[str]:
    """Images of a study in the landing bucket, by batch. `study` is a safe name.

    Raises AccountError: when there is too much to look through, so that nobody takes it for an answer.
    """
    bucket = deployment.output("LandingBucketName")
    unsettled = [ledger.text(batch, "batch") for batch in book.unsettled()]
    start = min([keys.batch_prefix(utc_now - LOOK_BACK), *unsettled])
    landed: Counter[str] = Counter()
    for area in (keys.INCOMING, keys.SPLIT):  # an object moves from the first to the second
        rows = deployment.connection.pages(
            "s3",
            "list_objects_v2",
            "CommonPrefixes",
            Bucket=bucket,
            Prefix=area,
            Delimiter="/",
            StartAfter=area + start,
        )
        folders = [row["Prefix"] for _, row in zip(range(MOST_FOLDERS + 1), rows, strict=False)]
        if len(folders) > MOST_FOLDERS:
            raise AccountError(
                f"More than {MOST_FOLDERS} batches wait for import: whether this study is among them cannot be told "
                "within a minute; look again when fewer wait (storescp-cfn status)."
            )

        def count(folder: str) -> int:
            pages = deployment.connection.pages(
                "s3", "list_objects_v2", "Contents", Bucket=bucket, Prefix=f"{folder}{study}/"
            )
            return sum(1 for _ in pages)

        for folder, number in zip(folders, gathering.each(folders, count), strict=True):
            landed[folder.removeprefix(area).rstrip("/")] += number
    return +landed


def search(deployment: Deployment, values: dict[str, str]) -> list[dict[str, object]]:
    """Image sets with these values, through HealthImaging's own search under the caller's own rights."""
    filters = [{"values": [{name: value}], "operator": "EQUAL"} for name, value in values.items()]
    return list(
        deployment.connection.pages(
            "medical-imaging",
            "search_image_sets",
            "imageSetsMetadataSummaries",
            datastoreId=deployment.output("HealthImagingDatastoreID"),
            searchCriteria={"filters": filters},
        )
    )


def study_lines(found: StudyFacts, utc_now: datetime) -> list[Line]:
    """What a person has to know about a study."""
    counts, lines = found.counts, []
    if counts["missing"]:
        text = f"{were(counts['missing'], 'image')} received and have vanished from the landing bucket."
        lines.append(Line(Level.STOP, text, SEND_AGAIN, "missing"))
    if counts["quarantined"]:
        text = f"{were(counts['quarantined'], 'image')} refused by HealthImaging and wait in quarantine."
        to_do = f"storescp-cfn quarantine list --study {found.study_instance_uid}"
        lines.append(Line(Level.WARNING, text, to_do, "quarantine"))
    if counts["warned"]:
        text = f"{are(counts['warned'], 'image')} imported with a warning: HealthImaging may not give them back whole."
        lines.append(Line(Level.WARNING, text, "storescp-cfn warnings list", "warned"))
    if counts["non_primary"]:
        text = f"{are(counts['non_primary'], 'image')} imported where viewers do not look: contradicting the series."
        lines.append(Line(Level.WARNING, text, "storescp-cfn warnings list", "non_primary"))
    if landed := sum(found.landed.values()):
        text = f"{have(landed, 'image')} been received and are on the way to HealthImaging."
        lines.append(Line(Level.OK, text, "look again in a minute", "on_the_way"))
    if counts["imported"]:
        titles = sorted({title for part in found.parts for title in part.get("calling_ae_titles", [])})
        text = f"{are(counts['imported'], 'image')} in HealthImaging, sent by {', '.join(titles) or 'unknown devices'}."
        lines.append(Line(Level.OK, text, subject="imported"))
    elif found.image_sets and not lines:
        text = "HealthImaging has this study, but not through this stack."
        lines.append(Line(Level.OK, text, subject="elsewhere"))
    return lines or [
        Line(
            Level.STOP,
            f"Not here. No device has been told that an image of this study was stored, as of "
            f"{moments.shown(utc_now, utc_now)}.",
            SEND_AGAIN,
            "not_here",
        )
    ]


def _parts_table(found: StudyFacts) -> Table:
    rows = [
        [
            ledger.text(part, "batch"),
            *(str(ledger.count(part, name)) for name in STUDY_COUNTS[:3]),
            ledger.text(part, "state"),
        ]
        for part in found.parts
    ]
    return Table("By batch", ["Batch", "Received", "Imported", "Quarantine", "State"], rows, frozenset({1, 2, 3}))


def by_attribute(deployment: Deployment, attribute: str, value: str, utc_now: datetime | None = None) -> Screen:
    """`--accession` and `--patient`: resolved now, by HealthImaging, under the caller's own rights.

    attribute: `DICOMAccessionNumber` or `DICOMPatientId`. The value is a patient's: it is neither kept nor shown.
    """
    now = utc_now or datetime.now(UTC)
    what = {"DICOMAccessionNumber": "accession number", "DICOMPatientId": "patient id"}[attribute]
    uids = sorted({uid for row in search(deployment, {attribute: value}) if (uid := _study_uid(row))})
    if not uids:
        return Screen(
            f"HealthImaging has no study with that {what}.",
            [
                Line(
                    Level.WARNING,
                    f"No imported study has that {what}. What is on the way or in quarantine can only be found by its "
                    "Study Instance UID or its device.",
                    "storescp-cfn status --study UID, or storescp-cfn status --device TITLE --since 1d",
                    "not_imported",
                )
            ],
            facts={"studies": []},
        )
    screens = [study(deployment, uid, now) for uid in uids]
    lines = [
        Line(line.level, f"{uid}: {line.text}", line.to_do, line.subject, line.details)
        for uid, screen in zip(uids, screens, strict=True)
        for line in screen.lines
    ]
    return Screen(
        f"{len(uids)} studies with that {what} are in HealthImaging.",
        lines,
        facts={"studies": [s.facts for s in screens]},
    )


def _study_uid(row: dict[str, object]) -> str:
    tags = row.get("DICOMTags")
    return str(tags.get("DICOMStudyInstanceUID", "")) if isinstance(tags, dict) else ""


def instance(deployment: Deployment, sop_instance_uid: str, utc_now: datetime | None = None) -> Screen:
    """`--image UID`: one image, by its SOP Instance UID."""
    items = list(ledger.of(deployment).query(f"INSTANCE#{keys.safe_name(sop_instance_uid)}", "BATCH#"))
    lines = [_instance_line(item) for item in items]
    if not items:
        lines = [
            Line(
                Level.WARNING,
                "The ledger does not know this image: it may be on the way, or it never came.",
                "storescp-cfn status --study with its Study Instance UID knows what is on the way, too",
                "unknown_image",
            )
        ]
    worst = max(line.level for line in lines)
    answer = "it is here" if worst == Level.OK else "look at it"
    return Screen(f"Image {sop_instance_uid}: {answer}.", lines, facts={"instances": items})


def _instance_line(item: ledger.Item) -> Line:
    where = f"batch {ledger.text(item, 'sk').split('#')[1]}, of {ledger.text(item, 'calling_ae_title') or 'unknown'}"
    if ledger.text(item, "state") == ledger.QUARANTINED:
        return Line(Level.WARNING, f"Quarantined: {where}.", "storescp-cfn quarantine list", "quarantine")
    if ledger.text(item, "open") in (ledger.WARNED, ledger.NON_PRIMARY):
        return Line(Level.WARNING, f"Imported with a warning: {where}.", "storescp-cfn warnings list", "warned")
    return Line(Level.OK, f"In HealthImaging, image set {ledger.text(item, 'image_set_id') or '?'}: {where}.")


def batch(deployment: Deployment, batch_id: str, utc_now: datetime | None = None) -> Screen:
    """`--batch ID`. Raises AccountError: when that is no batch id, or the ledger has no such batch."""
    now = utc_now or datetime.now(UTC)
    if not keys.is_batch_id(batch_id):
        raise AccountError(f"{batch_id} is not a batch id: it looks like 20261123T200315123Z-9f3a61c2-0001.")
    item = ledger.of(deployment).get(f"BATCH#{batch_id}", "BATCH")
    if item is None:
        raise AccountError(
            f"The ledger has no batch {batch_id}: if it was opened minutes ago, the importer has not seen it yet."
        )
    lines = list(_batch_lines(item, now))
    return Screen(f"Batch {batch_id} is {ledger.text(item, 'state')}.", lines, facts={"batch": item})


def _batch_lines(item: ledger.Item, now: datetime) -> Iterable[Line]:
    counts = {name: ledger.count(item, name) for name in ("received", "imported", "quarantined", "missing", "moved")}
    state, titles = ledger.text(item, "state"), ", ".join(item.get("calling_ae_titles", [])) or "unknown devices"
    if counts["missing"]:
        yield Line(Level.STOP, f"{are(counts['missing'], 'image')} missing.", SEND_AGAIN, "missing")
    if counts["quarantined"]:
        text = f"{are(counts['quarantined'], 'image')} in quarantine."
        yield Line(Level.WARNING, text, "storescp-cfn quarantine list", "quarantine")
    closed = moments.shown(moments.parse(ledger.text(item, "closed_at")), now)
    text = f"{counts['received']} received from {titles}, {counts['imported']} imported; closed {closed}."
    if state not in ledger.SETTLED_STATES and (again := moments.parse(ledger.text(item, "next_try_at"))):
        text += f" The next try is at {moments.shown(again, now)}."
    yield Line(Level.OK, text, subject="counts", details=counts)
    if children := item.get("children"):
        yield Line(Level.OK, f"{counts['moved']} images went on in {', '.join(children)}.", subject="children")
