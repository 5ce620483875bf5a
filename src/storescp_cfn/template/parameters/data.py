"""Parameters of data: where images go, how they are encrypted and how long things are kept."""

from __future__ import annotations

from storescp_cfn.template import patterns
from storescp_cfn.template.parameters.spec import CHANGEABLE, LEFT, choice, optional_text, whole_number, yes_or_no

# https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html, from a month on
LOG_RETENTION_DAYS = (30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
# An acknowledged image whose import turns out to be wrong can be restored for a week at least.
LEAST_RETENTION_DAYS = 7

SPECS = (
    optional_text(
        "DatastoreID",
        CHANGEABLE,
        "import into which existing data store?",
        "An AWS HealthImaging data store of the same account and Region, for example 0123456789abcdef0123456789abcdef. "
        "Empty: the stack creates one.",
        "Type the 32 digits and small letters of a data store's id, for example 0123456789abcdef0123456789abcdef.",
        "[0-9a-z]{32}",
    ),
    optional_text(
        "KmsKeyARN",
        CHANGEABLE,
        "which key of your own encrypts?",
        "A symmetric AWS KMS key of this Region that encrypts buckets, table, logs, alarms and a new data store, for "
        "example arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab. Its policy must allow "
        "it, see the documentation. Changing it later makes a new, empty data store and keeps the old one. Empty: keys "
        "that AWS manages.",
        "Type the ARN of a key, not of an alias, for example "
        "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab.",
        patterns.KEY_ARN,
    ),
    yes_or_no(
        "FastImport",
        LEFT,
        "import small batches at once?",
        "true: a small batch goes to HealthImaging by StoreDICOM, in seconds; what that does not clearly "
        "confirm goes the way of an import job. false: import jobs only. Example: true",
        "true",
    ),
    whole_number(
        "RetentionDays",
        CHANGEABLE,
        "how long are imported originals kept, days?",
        "How long the landing bucket keeps the original of an image after it was imported. Images that are not "
        "imported are kept for ever. Example: 30",
        30,
        (LEAST_RETENTION_DAYS, 3650),
    ),
    choice(
        "LogRetentionDays",
        CHANGEABLE,
        "how long are logs kept, days?",
        "How long logs are kept; 2192 days are six years. Example: 365",
        365,
        LOG_RETENTION_DAYS,
    ),
    optional_text(
        "AdministratorARN",
        CHANGEABLE,
        "who alone may delete versions of images?",
        "An IAM role or user of this account, for example arn:aws:iam::123456789012:role/PacsAdministrator: the "
        "landing bucket refuses everybody else who deletes versions, or changes its policy, versioning or lifecycle. "
        "Create and update the stack with that role then.",
        "Type the ARN of an IAM role or user, for example arn:aws:iam::123456789012:role/PacsAdministrator.",
        patterns.PRINCIPAL_ARN,
    ),
)
