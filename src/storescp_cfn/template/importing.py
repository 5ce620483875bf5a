"""The importer: its function, and the roles of the function and of the import jobs."""

from __future__ import annotations

from typing import Any

import awacs.dynamodb
import awacs.iam
import awacs.kms
import awacs.logs
import awacs.medical_imaging
import awacs.s3
from awacs.aws import Action, ArnEquals, StringEquals, StringLike
from awacs.aws import Condition as PolicyCondition
from troposphere import AWSObject, GetAtt, Ref, Sub
from troposphere.awslambda import Code, Environment, Function, LoggingConfig

from storescp_cfn.template import conditions, findings, iam, ledger, logs, regions, storage, timeouts, wake_ups
from storescp_cfn.template.composer import importer_source
from storescp_cfn.template.findings import AWS_SOLUTIONS, HIPAA, NIST_4, NIST_5, PCI, SERVERLESS, AcceptedFinding
from storescp_cfn.template.iam import Grant, RoleSpec

IMPORTER = "Importer"
IMPORTER_LOG_GROUP = "ImporterLogGroup"
IMPORTER_ROLE = "ImporterRole"
IMPORT_JOB_ROLE = "ImportJobRole"
RUNTIME = "python3.13"
MEMORY_MIB = 512
HEALTHIMAGING = "medical-imaging.amazonaws.com"


# The function's variables; import_lambda/settings.py owns the names. The quotas' others keep its defaults.
ENVIRONMENT: dict[str, Any] = {
    "STACK_NAME": Ref("AWS::StackName"),
    "LANDING_BUCKET": Ref(storage.LANDING_BUCKET),
    "RESULTS_BUCKET": Ref(storage.RESULTS_BUCKET),
    "LEDGER_TABLE": Ref(storage.LEDGER),
    "DATASTORE_ID": storage.datastore_id(),
    "DATA_ACCESS_ROLE_ARN": GetAtt(IMPORT_JOB_ROLE, "Arn"),
    "MAX_CONCURRENT_JOBS": regions.concurrent_jobs(),
    "FAST_IMPORT": Ref("FastImport"),
}


_NO_DEAD_LETTERS = AcceptedFinding(
    wake_ups.LEVEL_TRIGGERED,
    checkov=["CKV_AWS_116"],
    guard=["LAMBDA_DLQ_CHECK"],
    nag=findings.nag("LambdaDLQ", HIPAA, NIST_5, SERVERLESS),
)
_NOT_RESERVED = AcceptedFinding(
    "A new AWS account cannot reserve any concurrency: the stack would fail. A lease in the ledger lets one run work "
    "at a time.",
    checkov=["CKV_AWS_115"],
    guard=["LAMBDA_CONCURRENCY_CHECK"],
    nag=findings.nag("LambdaConcurrency", HIPAA, NIST_5),
)
_NOT_IN_VPC = AcceptedFinding(
    "It calls AWS's own interfaces with its role and listens to nothing; in a VPC it would need a NAT gateway to reach "
    "HealthImaging, and gain nothing.",
    checkov=["CKV_AWS_117"],
    guard=["LAMBDA_INSIDE_VPC", "lambda_inside_vpc_check"],
    nag=findings.nag("LambdaInsideVPC", HIPAA, NIST_4, NIST_5, PCI),
)
_NO_TRACES = AcceptedFinding(
    "Its log and metrics follow each batch; traces would need a permission on every resource.",
    nag=findings.nag("LambdaTracing", SERVERLESS),
    others=["AWS-0066"],
)
_STEADY_RUNTIME = AcceptedFinding(
    "python3.13 is supported until June 2029; newer ones are not confirmed in every Region of HealthImaging.",
    nag=[*findings.nag("L1", AWS_SOLUTIONS), *findings.nag("LambdaLatestVersion", SERVERLESS)],
)
# What every function of ours is found to lack.
SMALL_FUNCTION = (_NO_DEAD_LETTERS, _NOT_RESERVED, _NOT_IN_VPC, _NO_TRACES, _STEADY_RUNTIME)
_ENVIRONMENT_KEY = AcceptedFinding(
    "Lambda encrypts the environment with a key of its own; it holds names, no secrets. With KmsKeyARN the key is the "
    "customer's.",
    checkov=["CKV_AWS_173"],
)


# HealthImaging asks KMS in the name of the role that it is called by, or works with.
# https://docs.aws.amazon.com/healthimaging/latest/devguide/data-encryption.html
_DATASTORE_KEY = iam.key_grant(
    "Write into a data store that the customer's key encrypts.",
    [
        awacs.kms.DescribeKey,
        awacs.kms.GenerateDataKey,
        awacs.kms.Decrypt,
        awacs.kms.ReEncryptFrom,
        awacs.kms.ReEncryptTo,
    ],
    "medical-imaging",
    sid="UseKeyOfDatastore",
)


def _landing(*prefixes: str) -> list[Sub]:
    return storage.objects(storage.LANDING_BUCKET, *prefixes)


def _results() -> list[Sub]:
    return storage.objects(storage.RESULTS_BUCKET, storage.JOBS)


def _list(sid: str, why: str, bucket: str, *prefixes: str) -> Grant:
    below = StringLike({"s3:prefix": [f"{prefix}*" for prefix in prefixes]})
    return Grant(sid, why, [awacs.s3.ListBucket], [GetAtt(bucket, "Arn")], PolicyCondition(below))


def import_job_role() -> RoleSpec:
    """What HealthImaging may do during an import job into this data store."""
    return RoleSpec(
        IMPORT_JOB_ROLE,
        HEALTHIMAGING,
        "AWS HealthImaging: reads received images and writes the results of import jobs",
        # https://docs.aws.amazon.com/healthimaging/latest/devguide/cross-service-confused-deputy-prevention.html
        trust=PolicyCondition(
            [
                StringEquals({"aws:SourceAccount": Ref("AWS::AccountId")}),
                ArnEquals({"aws:SourceArn": storage.datastore_arn()}),
            ]
        ),
        grants=[
            # HealthImaging's own example has no condition on the prefix, and does not say how it lists.
            Grant(
                "ListBuckets",
                "Find the images of a batch, and the place for the results.",
                [awacs.s3.ListBucket],
                [GetAtt(storage.LANDING_BUCKET, "Arn"), GetAtt(storage.RESULTS_BUCKET, "Arn")],
            ),
            Grant(
                "ReadImages",
                "Read the images of a batch.",
                [awacs.s3.GetObject],
                _landing(storage.INCOMING, storage.SPLIT),
            ),
            Grant(
                "WriteResults",
                "Write which images were imported and which were refused.",
                [awacs.s3.PutObject],
                _results(),
            ),
        ],
        key_grants=[
            iam.key_grant("Decrypt images and encrypt results with the customer's key.", iam.WRITE_ENCRYPTED, "s3"),
            _DATASTORE_KEY,
        ],
    )


def _reading_grants() -> list[Grant]:
    """What the importer may find and read in the buckets."""
    return [
        _list(
            "ListLanding",
            "Find batches, their images and requests for storage commitment.",
            storage.LANDING_BUCKET,
            storage.INCOMING,
            storage.BATCHES,
            storage.SPLIT,
            storage.COMMITMENTS,
        ),
        _list("ListResults", "Find the results of import jobs.", storage.RESULTS_BUCKET, storage.JOBS),
        Grant(
            "ReadLanding",
            "Read batch manifests, requests for storage commitment, and images that it moves or imports itself.",
            [awacs.s3.GetObject, awacs.s3.GetObjectTagging],
            _landing(storage.INCOMING, storage.BATCHES, storage.SPLIT, storage.QUARANTINE, storage.COMMITMENTS),
        ),
        Grant("ReadResults", "Read what became of each image.", [awacs.s3.GetObject], _results()),
    ]


def _writing_grants() -> list[Grant]:
    """What the importer may write and remove in the buckets."""
    return [
        Grant("KeepAnswers", "Keep HealthImaging's answers to StoreDICOM.", [awacs.s3.PutObject], _results()),
        Grant(
            "QuarantineImages",
            "Keep each image that HealthImaging refused, with the reason beside it.",
            # A malware scanner's tags go along.
            [awacs.s3.PutObject, awacs.s3.PutObjectTagging],
            _landing(storage.QUARANTINE),
        ),
        Grant(
            "SplitBatches",
            "Make batches of its own: halves of one that is too large or fails as a whole, and retried images.",
            [awacs.s3.PutObject, awacs.s3.PutObjectTagging],
            _landing(storage.SPLIT),
        ),
        Grant(
            "AnswerCommitments",
            "Say which instances of a storage commitment request are in HealthImaging.",
            [awacs.s3.PutObject],
            _landing(storage.COMMITMENT_RESULTS),
        ),
        Grant(
            "ClearLanding",
            "Remove what is imported, quarantined or delivered; its versions stay for RetentionDays. Nothing in "
            "quarantine.",
            [awacs.s3.DeleteObject],
            _landing(storage.INCOMING, storage.BATCHES, storage.SPLIT, storage.COMMITMENTS),
        ),
    ]


def _ledger_grants() -> list[Grant]:
    """What the importer may do to the ledger."""
    return [
        Grant(
            "KeepLedger",
            "Record what became of each batch, study and image.",
            [awacs.dynamodb.GetItem, awacs.dynamodb.PutItem, awacs.dynamodb.Query],
            [GetAtt(storage.LEDGER, "Arn")],
        ),
        Grant(
            "FindOpenMatters",
            "Find the batches that are not settled, and what a person has still to look at.",
            [awacs.dynamodb.Query],
            [Sub(f"${{{storage.LEDGER}.Arn}}/index/{index}") for index in ledger.INDEXES],
        ),
    ]


def _healthimaging_grants() -> list[Grant]:
    """What the importer may ask of HealthImaging, and hand to it."""
    return [
        Grant(
            "RunImportJobs",
            "Start import jobs into this data store and follow them.",
            [
                awacs.medical_imaging.StartDICOMImportJob,
                awacs.medical_imaging.GetDICOMImportJob,
                awacs.medical_imaging.ListDICOMImportJobs,
            ],
            [storage.datastore_arn()],
        ),
        Grant(
            "StoreSmallBatches",
            "Store small batches without a job, and see that they are found.",
            [
                Action("medical-imaging", "StoreDICOM"),
                Action("medical-imaging", "SearchDICOMInstances"),
                awacs.medical_imaging.SearchImageSets,
            ],
            [storage.datastore_arn()],
        ),
        Grant(
            "PassImportJobRole",
            "Hand the role of import jobs, and no other, to HealthImaging, and to no other service.",
            [awacs.iam.PassRole],
            [GetAtt(IMPORT_JOB_ROLE, "Arn")],
            PolicyCondition(StringEquals({"iam:PassedToService": HEALTHIMAGING})),
        ),
    ]


def importer_role() -> RoleSpec:
    """What the importer's function may do."""
    return RoleSpec(
        IMPORTER_ROLE,
        "lambda.amazonaws.com",
        "The importer: starts import jobs, settles every image of them and keeps the ledger",
        grants=[
            *_reading_grants(),
            *_writing_grants(),
            *_ledger_grants(),
            *_healthimaging_grants(),
            Grant(
                "WriteLog",
                "Write the importer's log to its own log group.",
                [awacs.logs.CreateLogStream, awacs.logs.PutLogEvents],
                [GetAtt(IMPORTER_LOG_GROUP, "Arn")],
            ),
        ],
        key_grants=[
            iam.key_grant(
                "Read and write buckets and ledger that the customer's key encrypts.",
                iam.WRITE_ENCRYPTED,
                "s3",
                "dynamodb",
            ),
            _DATASTORE_KEY,
        ],
    )


def roles() -> list[RoleSpec]:
    """The roles of this concern."""
    return [importer_role(), import_job_role()]


def _function() -> Function:
    return Function(
        IMPORTER,
        Metadata=findings.metadata(
            "Starts one import job for each closed batch, and settles every image of it",
            *SMALL_FUNCTION,
            _ENVIRONMENT_KEY,
        ),
        Description="Imports closed batches into AWS HealthImaging and settles every image of them",
        Runtime=RUNTIME,
        Architectures=["arm64"],
        Handler="index.handler",
        Code=Code(ZipFile=importer_source()),
        Role=GetAtt(IMPORTER_ROLE, "Arn"),
        MemorySize=MEMORY_MIB,
        Timeout=timeouts.IMPORTER_TIMEOUT_SECONDS,
        KmsKeyArn=conditions.kms_key(),
        LoggingConfig=LoggingConfig(LogGroup=Ref(IMPORTER_LOG_GROUP)),
        Environment=Environment(Variables=ENVIRONMENT),
    )


def resources() -> list[AWSObject]:
    """Every resource of this concern."""
    return [
        logs.log_group(
            IMPORTER_LOG_GROUP, "Log and metrics of the importer; it names batches and UIDs, never patients"
        ),
        *(resource for role in roles() for resource in role.resources()),
        _function(),
        *wake_ups.resources(IMPORTER),
    ]
