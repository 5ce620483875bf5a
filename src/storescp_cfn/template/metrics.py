"""The metrics of receiver and importer that the template reads.

Their owners are container/storescp/metrics.py and import_lambda/metrics.py; a contract test holds this module to them.
"""

from __future__ import annotations

NAMESPACE = "StoreSCP"
STACK_DIMENSION = "StackName"

OPEN_ASSOCIATIONS = "OpenAssociations"
ASSOCIATIONS_ACCEPTED = "AssociationsAccepted"
REJECTIONS = "Rejections"
INSTANCES_RECEIVED = "InstancesReceived"
INSTANCES_ACKNOWLEDGED = "InstancesAcknowledged"
INSTANCES_FAILED = "InstancesFailed"
MANIFEST_FAILURES = "ManifestFailures"
TLS_HANDSHAKES_FAILED = "TlsHandshakesFailed"
OF_RECEIVER = (
    OPEN_ASSOCIATIONS,
    ASSOCIATIONS_ACCEPTED,
    REJECTIONS,
    INSTANCES_RECEIVED,
    INSTANCES_ACKNOWLEDGED,
    INSTANCES_FAILED,
    MANIFEST_FAILURES,
    TLS_HANDSHAKES_FAILED,
)

BATCHES_WAITING = "BatchesWaiting"
BATCHES_IMPORTING = "BatchesImporting"
OLDEST_UNSETTLED_BATCH_SECONDS = "OldestUnsettledBatchSeconds"
SECONDS_TO_IMAGE_SET = "SecondsToImageSet"
INSTANCES_IMPORTED = "InstancesImported"
INSTANCES_QUARANTINED = "InstancesQuarantined"
INSTANCES_NON_PRIMARY = "InstancesNonPrimary"
INSTANCES_MISSING = "InstancesMissing"
UNRECOGNIZED_OBJECTS = "UnrecognizedObjects"
IMPORT_ERRORS = "ImportErrors"
OLDEST_ORPHAN_SECONDS = "OldestOrphanSeconds"
# What is still open: OK means that somebody dealt with it.
QUARANTINE_OPEN = "QuarantinedOpen"
NON_PRIMARY_OPEN = "NonPrimaryOpen"
WARNED_OPEN = "WarnedOpen"
UNRECOGNIZED_OPEN = "UnrecognizedOpen"
COMMITMENT_RESULTS_OVERDUE = "CommitmentResultsOverdue"
OF_IMPORTER = (
    BATCHES_WAITING,
    BATCHES_IMPORTING,
    OLDEST_UNSETTLED_BATCH_SECONDS,
    SECONDS_TO_IMAGE_SET,
    INSTANCES_IMPORTED,
    INSTANCES_QUARANTINED,
    INSTANCES_NON_PRIMARY,
    INSTANCES_MISSING,
    UNRECOGNIZED_OBJECTS,
    IMPORT_ERRORS,
    OLDEST_ORPHAN_SECONDS,
    QUARANTINE_OPEN,
    NON_PRIMARY_OPEN,
    WARNED_OPEN,
    UNRECOGNIZED_OPEN,
    COMMITMENT_RESULTS_OVERDUE,
)

# Gauges of a state; a count returns to zero by itself.
STATES = frozenset(
    {
        OLDEST_UNSETTLED_BATCH_SECONDS,
        OLDEST_ORPHAN_SECONDS,
        INSTANCES_MISSING,
        BATCHES_WAITING,
        BATCHES_IMPORTING,
        QUARANTINE_OPEN,
        NON_PRIMARY_OPEN,
        WARNED_OPEN,
        UNRECOGNIZED_OPEN,
        COMMITMENT_RESULTS_OVERDUE,
    }
)
