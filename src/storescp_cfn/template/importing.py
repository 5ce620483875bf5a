"""The importer: its function, its doorbells, and the roles of the function and of the import jobs."""

from __future__ import annotations

from typing import Any

import awacs.dynamodb
import awacs.iam
import awacs.logs
import awacs.medical_imaging
import awacs.s3
from awacs.aws import ArnEquals, StringEquals
from awacs.aws import Condition as PolicyCondition
from troposphere import AWSObject, GetAtt, Ref, Sub
from troposphere.awslambda import Code, Environment, EventInvokeConfig, Function, LoggingConfig, Permission
from troposphere.events import Rule, Target
from troposphere.logs import LogGroup

from storescp_cfn.template import storage, times
from storescp_cfn.template.iam import Grant, RoleSpec
from storescp_cfn.template.importer_source import IMPORTER_SOURCE

IMPORTER = "Importer"
IMPORTER_LOG_GROUP = "ImporterLogGroup"
IMPORTER_ROLE = "ImporterRole"
IMPORT_JOB_ROLE = "ImportJobRole"

BATCH_CLOSED_RULE = "BatchClosedRule"
JOB_ENDED_RULE = "ImportJobEndedRule"
EVERY_MINUTE_RULE = "EveryMinuteRule"


def _landing(prefix: str = "") -> Sub:
    return Sub(f"${{{storage.LANDING_BUCKET}.Arn}}/{prefix}*")


def _results() -> Sub:
    return Sub(f"${{{storage.RESULTS_BUCKET}.Arn}}/*")


def _buckets() -> list[GetAtt]:
    return [GetAtt(storage.LANDING_BUCKET, "Arn"), GetAtt(storage.RESULTS_BUCKET, "Arn")]


def import_job_role() -> RoleSpec:
    """What HealthImaging may do during an import job of this data store."""
    return RoleSpec(
        IMPORT_JOB_ROLE,
        "medical-imaging.amazonaws.com",
        "AWS HealthImaging: reads received images and writes the results of import jobs",
        # https://docs.aws.amazon.com/healthimaging/latest/devguide/cross-service-confused-deputy-prevention.html
        trust=PolicyCondition(
            [
                StringEquals({"aws:SourceAccount": Ref("AWS::AccountId")}),
                ArnEquals({"aws:SourceArn": storage.datastore_arn()}),
            ]
        ),
        grants=[
            Grant("ListBuckets", "Find the images of a batch and the results.", [awacs.s3.ListBucket], _buckets()),
            Grant("ReadImages", "Read the images of a batch.", [awacs.s3.GetObject], [_landing(storage.INCOMING)]),
            Grant(
                "WriteResults",
                "Write which images were imported and which were not.",
                [awacs.s3.PutObject],
                [_results()],
            ),
        ],
    )


def importer_role() -> RoleSpec:
    """What the importer's function may do."""
    return RoleSpec(
        IMPORTER_ROLE,
        "lambda.amazonaws.com",
        "The importer: starts import jobs, settles them, keeps the ledger",
        grants=[
            Grant(
                "ListBuckets", "Find batches, their images and the results of jobs.", [awacs.s3.ListBucket], _buckets()
            ),
            Grant(
                "ReadLanding",
                "Read batch manifests, and images on their way to quarantine.",
                [awacs.s3.GetObject],
                [_landing()],
            ),
            Grant(
                "WriteLanding",
                "Adopt a batch whose receiver died, split one, and quarantine what was refused.",
                [awacs.s3.PutObject],
                [_landing()],
            ),
            Grant(
                "ClearLanding",
                "Remove what is imported or quarantined; versioning keeps it for RetentionDays.",
                [awacs.s3.DeleteObject],
                [_landing(storage.INCOMING), _landing(storage.BATCHES)],
            ),
            Grant("ReadResults", "Read what became of each image.", [awacs.s3.GetObject], [_results()]),
            Grant(
                "KeepLedger",
                "Keep the ledger.",
                [
                    awacs.dynamodb.GetItem,
                    awacs.dynamodb.PutItem,
                    awacs.dynamodb.UpdateItem,
                    awacs.dynamodb.DeleteItem,
                    awacs.dynamodb.Query,
                ],
                [GetAtt(storage.LEDGER, "Arn"), Sub(f"${{{storage.LEDGER}.Arn}}/index/{storage.UNSETTLED_INDEX}")],
            ),
            Grant(
                "RunImportJobs",
                "Start import jobs into this data store and look at them.",
                [
                    awacs.medical_imaging.StartDICOMImportJob,
                    awacs.medical_imaging.GetDICOMImportJob,
                    awacs.medical_imaging.ListDICOMImportJobs,
                ],
                [storage.datastore_arn()],
            ),
            Grant(
                "PassImportJobRole",
                "Hand the import job's role, and no other, to HealthImaging, and to no other service.",
                [awacs.iam.PassRole],
                [GetAtt(IMPORT_JOB_ROLE, "Arn")],
                PolicyCondition(StringEquals({"iam:PassedToService": "medical-imaging.amazonaws.com"})),
            ),
            Grant(
                "WriteLog",
                "Write the importer's log to its own log group.",
                [awacs.logs.CreateLogStream, awacs.logs.PutLogEvents],
                [GetAtt(IMPORTER_LOG_GROUP, "Arn")],
            ),
        ],
    )


def _function() -> Function:
    return Function(
        IMPORTER,
        Description="Imports closed batches into AWS HealthImaging and settles every image of them",
        Runtime="python3.13",
        Handler="index.handler",
        Code=Code(ZipFile=IMPORTER_SOURCE),
        Role=GetAtt(IMPORTER_ROLE, "Arn"),
        MemorySize=512,
        Timeout=times.IMPORTER_TIMEOUT_SECONDS,
        LoggingConfig=LoggingConfig(LogGroup=Ref(IMPORTER_LOG_GROUP)),
        Environment=Environment(
            Variables={
                "STACK_NAME": Ref("AWS::StackName"),
                "LANDING_BUCKET": Ref(storage.LANDING_BUCKET),
                "RESULTS_BUCKET": Ref(storage.RESULTS_BUCKET),
                "LEDGER_TABLE": Ref(storage.LEDGER),
                "DATASTORE_ID": Ref(storage.DATASTORE),
                "DATA_ACCESS_ROLE_ARN": GetAtt(IMPORT_JOB_ROLE, "Arn"),
            }
        ),
    )


def _doorbell(logical_id: str, description: str, **when: Any) -> list[AWSObject]:
    """A rule that wakes the importer, and the permission for exactly that rule to do so."""
    rule = Rule(
        logical_id,
        Description=description,
        State="ENABLED",
        Targets=[Target(Arn=GetAtt(IMPORTER, "Arn"), Id="Importer")],
        **when,
    )
    permission = Permission(
        f"{logical_id}Permission",
        Action="lambda:InvokeFunction",
        FunctionName=Ref(IMPORTER),
        Principal="events.amazonaws.com",
        SourceArn=GetAtt(logical_id, "Arn"),
    )
    return [rule, permission]


def _doorbells() -> list[AWSObject]:
    batch_closed = {
        "source": ["aws.s3"],
        "detail-type": ["Object Created"],
        "detail": {"bucket": {"name": [Ref(storage.LANDING_BUCKET)]}, "object": {"key": [{"prefix": storage.BATCHES}]}},
    }
    job_ended = {
        "source": ["aws.medical-imaging"],
        "detail-type": ["Import Job Completed", "Import Job Failed"],
        "detail": {"datastoreId": [Ref(storage.DATASTORE)]},
    }
    return [
        *_doorbell(BATCH_CLOSED_RULE, "A batch is closed", EventPattern=batch_closed),
        *_doorbell(JOB_ENDED_RULE, "An import job has ended", EventPattern=job_ended),
        *_doorbell(EVERY_MINUTE_RULE, "Whatever event was lost", ScheduleExpression="rate(1 minute)"),
    ]


def resources() -> list[AWSObject]:
    """Every resource of this concern."""
    return [
        LogGroup(IMPORTER_LOG_GROUP, DeletionPolicy="Retain", UpdateReplacePolicy="Retain", RetentionInDays=365),
        import_job_role().resource(),
        importer_role().resource(),
        _function(),
        # Level-triggered: the next minute repairs a failed run, a queue of retries would only repeat it.
        EventInvokeConfig(
            "ImporterInvocations",
            FunctionName=Ref(IMPORTER),
            Qualifier="$LATEST",
            MaximumRetryAttempts=0,
            MaximumEventAgeInSeconds=60,
        ),
        *_doorbells(),
    ]
