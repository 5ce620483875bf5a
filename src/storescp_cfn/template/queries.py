"""Questions that an administrator asks of the logs, as saved queries of CloudWatch Logs Insights and as tables."""

from __future__ import annotations

from dataclasses import dataclass

from troposphere import AWSObject, Ref, Sub
from troposphere.logs import QueryDefinition

from storescp_cfn.template import findings
from storescp_cfn.template.importing import IMPORTER_LOG_GROUP
from storescp_cfn.template.service import RECEIVER_LOG_GROUP


@dataclass(frozen=True)
class SavedQuery:
    """One question. log_group: logical id of the log that answers it; text: in Logs Insights' language."""

    logical_id: str
    title: str
    log_group: str
    text: str

    def resource(self) -> QueryDefinition:
        """The saved query, in a folder with the stack's name."""
        return QueryDefinition(
            self.logical_id,
            Metadata=findings.metadata(f"Answers from the logs: {self.title.lower()}"),
            Name=Sub(f"${{AWS::StackName}}/{self.title}"),
            LogGroupNames=[Ref(self.log_group)],
            QueryString=self.text,
        )


LAST_CONTACT = SavedQuery(
    "LastContactQuery",
    "Last contact of each device",
    RECEIVER_LOG_GROUP,
    'filter message = "association ended"\n'
    "| stats max(time) as last_contact, sum(instances) as images, count(*) as associations by calling_ae_title\n"
    "| sort last_contact asc",
)
REJECTED = SavedQuery(
    "RejectedAssociationsQuery",
    "Who was rejected, and why",
    RECEIVER_LOG_GROUP,
    'filter message = "association rejected"\n'
    "| stats count(*) as times, max(time) as last by calling_ae_title, called_ae_title, reason, peer\n"
    "| sort times desc",
)
REFUSED = SavedQuery(
    "RefusedInstancesQuery",
    "Images answered with a failure, by device",
    RECEIVER_LOG_GROUP,
    'filter message = "association ended"\n'
    # The first reason of an association; each is `0x`, the status and a comment.
    '| parse @message /"failures": ?\\{"0x(?<status>[0-9A-F]{4})[^"]*": ?(?<refused>[0-9]+)/\n'
    "| filter ispresent(status)\n"
    "| stats sum(refused) as images, max(time) as last by calling_ae_title, status\n"
    "| sort images desc",
)
QUARANTINED = SavedQuery(
    "QuarantinedInstancesQuery",
    "Images that HealthImaging refused, by kind",
    IMPORTER_LOG_GROUP,
    'filter message = "instance quarantined"\n| stats count(*) as images, max(@timestamp) as last by kind, batch\n'
    "| sort last desc",
)
TROUBLE = SavedQuery(
    "TroubleQuery",
    "Errors and warnings of the receivers",
    RECEIVER_LOG_GROUP,
    'filter level in ["WARNING", "ERROR"]\n'
    "| stats count(*) as times, max(time) as last by level, message, code, reason\n"
    "| sort last desc",
)
IMPORT_TROUBLE = SavedQuery(
    "ImportTroubleQuery",
    "Errors and warnings of the importer",
    IMPORTER_LOG_GROUP,
    'filter level in ["WARNING", "ERROR"]\n| stats count(*) as times, max(@timestamp) as last by level, message, code\n'
    "| sort last desc",
)
QUERIES = (LAST_CONTACT, REJECTED, REFUSED, QUARANTINED, TROUBLE, IMPORT_TROUBLE)
# The tables of the dashboard.
TABLES = (LAST_CONTACT, REFUSED, REJECTED)


def resources() -> list[AWSObject]:
    """The saved queries."""
    return [query.resource() for query in QUERIES]
