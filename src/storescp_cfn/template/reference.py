"""Reference pages of the documentation, written from the same data as the template, so that they cannot rot.

`pages()` is pure; `make docs` writes the files, and a test holds the committed ones to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from typing import Any

from storescp_cfn.markdown import code, code_lines, table
from storescp_cfn.template import (
    alarms,
    fargate,
    findings,
    iam,
    importing,
    monitoring,
    outputs,
    parameters,
    preflight,
    queries,
    regions,
    rules,
    service,
    timeouts,
)
from storescp_cfn.template.release import Release
from storescp_cfn.template.rendering import render

Json = dict[str, Any]

_GENERATED = "<!-- Written by `make docs` from src/storescp_cfn/template: change it there. -->\n"


def pages() -> dict[str, str]:
    """Every reference page, by its file name below docs/reference/."""
    template: Json = json.loads(render().to_json())
    return {
        "parameters.md": parameters_page(),
        "outputs.md": outputs_page(),
        "iam.md": iam_page(template),
        "resources.md": resources_page(template),
        "alarms.md": alarms_page(),
        "limits.md": limits_page(),
        "kms-key.md": key_page(),
    }


# --- Markdown ------------------------------------------------------------------------------------------------


def _page(title: str, *blocks: str) -> str:
    return _GENERATED + "\n" + "\n\n".join([f"# {title}", *blocks]).rstrip() + "\n"


# --- Parameters and outputs ----------------------------------------------------------------------------------


def parameters_page() -> str:
    """Every parameter: what it means, its default, and what may be typed."""
    sections = []
    for group in parameters.GROUPS:
        rows = [
            [
                f"**{spec.name}**<br>{spec.label}",
                spec.description,
                "required" if spec.default is None else code(spec.default) or "empty",
                spec.constraint or "",
            ]
            for spec in parameters.parameter_specs()
            if spec.group == group
        ]
        sections.append(f"## {group}\n\n" + table(["Parameter", "Meaning", "Default", "What to type"], rows))
    return _page(
        "Parameters",
        "What the launch form asks for. A value that does not fit is refused before anything is created, with the "
        "sentence in the last column.",
        *sections,
        _rules_section(),
        _fargate_section(),
    )


def _rules_section() -> str:
    sentences = [assertion["AssertDescription"] for rule in rules.rules().values() for assertion in rule["Assertions"]]
    general = [sentence for sentence in sentences if not re.search(r"With TaskCPU|which is \d", sentence)]
    listed = "\n".join(f"- {sentence}" for sentence in general)
    return (
        "## What parameters must be together\n\nCloudFormation checks this too before it creates anything:\n\n"
        f"{listed}\n- AutoscaleMaxCapacity must be at least TaskDesiredCount.\n- TaskMemoryLimit must go with TaskCPU, "
        "as below.\n\nWhat CloudFormation cannot check: that the subnets are public or private indeed, that single "
        "subnets of the two lists differ, that SecurityGroupID and PrivateRouteTableIDs belong to the VPC, that "
        "VpcCIDR is the VPC's, and that certificate, key and data store are in this account and Region."
    )


def _fargate_section() -> str:
    rows = [
        [str(cpu), f"{cpu / 1024:g}", ", ".join(map(str, memory))] for cpu, memory in fargate.MEMORY_MIB_OF_CPU.items()
    ]
    return "## Sizes of a receiver\n\n" + table(["TaskCPU", "vCPU", "TaskMemoryLimit, MiB"], rows)


def outputs_page() -> str:
    """Every output of a stack."""
    rows = [[f"**{name}**", description] for name, (description, _) in outputs.values().items()]
    jobs = [[region, str(count)] for region, count in regions.CONCURRENT_JOBS_OF_REGION.items()]
    return _page(
        "Outputs and Regions",
        "What the Outputs tab of a stack shows.",
        table(["Output", "Meaning"], rows),
        "## Regions\n\nThe template works in every Region that has AWS HealthImaging. They differ in how many import "
        "jobs may run at once; raise the quota L-23763099 if that is too few.\n\n"
        + table(["Region", "Import jobs at once"], jobs),
    )


# --- IAM -----------------------------------------------------------------------------------------------------


def _shown(value: Any) -> str:
    """A resource or a condition's value as a reader knows it: names of the template in ${…}."""
    plain = value.to_dict() if hasattr(value, "to_dict") else value
    if isinstance(plain, int) and not isinstance(plain, bool):
        return str(plain)
    if isinstance(plain, bool | str):
        return str(plain).lower() if isinstance(plain, bool) else plain
    if isinstance(plain, list):
        return ", ".join(_shown(member) for member in plain)
    ((function, arguments),) = plain.items()
    if function == "Ref":
        return f"${{{arguments}}}"
    if function == "Fn::GetAtt":
        return f"${{{'.'.join(arguments)}}}"
    if function == "Fn::If":
        return f"{_shown(arguments[1])} or {_shown(arguments[2])}"
    if isinstance(arguments, str):
        return arguments
    return re.sub(r"\$\{(\w+)\}", lambda match: _sub_value(match, arguments[1]), arguments[0])


def _sub_value(match: re.Match[str], values: Json) -> str:
    value = values.get(match[1])
    return match[0] if value is None or "Fn::Select" in value else f"<{_shown(value)}>"


def _conditions(statement: Json) -> str:
    return "<br>".join(
        f"`{key}` {operator} `{_shown(value)}`"
        for operator, tests in statement.get("Condition", {}).items()
        for key, value in tests.items()
    )


def _grant_rows(template: Json, policy_id: str, grants: Sequence[iam.Grant], when: str) -> list[list[str]]:
    """One row for each grant, its statement taken from the policy as it is rendered."""
    policy = template["Resources"].get(policy_id, {}).get("Properties", {})
    statements = {statement["Sid"]: statement for statement in policy.get("PolicyDocument", {}).get("Statement", [])}
    rows = []
    for grant in grants:
        statement = statements[grant.sid]
        why = grant.why + (f" Any resource: {grant.any_resource_because}." if grant.any_resource_because else "")
        resources = code_lines(_shown(resource) for resource in statement["Resource"])
        rows.append([f"**{grant.sid}**", why, code_lines(statement["Action"]), resources, _conditions(statement), when])
    return rows


def _role_section(template: Json, role: iam.RoleSpec, free: Collection[str]) -> str:
    """One role; `free` holds the statements that it has in a free listing too."""
    trust = template["Resources"][role.logical_id]["Properties"]["AssumeRolePolicyDocument"]["Statement"][0]
    always = [grant for grant in role.grants if grant.sid in free]
    paid = [grant for grant in role.grants if grant.sid not in free]
    rows = _grant_rows(template, role.policy_id, always, "always")
    rows += _grant_rows(template, role.key_policy_id, role.key_grants, "with KmsKeyARN")
    rows += _grant_rows(template, role.tls_policy_id, role.tls_grants, "with TLSCertificateSecretARN")
    rows += _grant_rows(template, role.policy_id, paid, "in a paid listing")
    header = ["Statement", "Why", "Actions", "Resources", "Conditions", "When"]
    under = f", if {_conditions(trust).replace('<br>', ' and ')}" if _conditions(trust) else ""
    return f"## {role.logical_id}\n\n{role.purpose}. Only `{role.service}` may assume it{under}.\n\n" + table(
        header, rows
    )


def iam_page(template: Json) -> str:
    """Each role, each statement and why; and the policies of buckets, topic and function."""
    release = Release(metered=True)
    paid: Json = json.loads(render(release).to_json())
    free = {grant.sid for role in service.roles() + importing.roles() + [preflight.role()] for grant in role.grants}
    return _page(
        "IAM roles and policies",
        "The stack makes five roles, each with a managed policy, and with further ones where a customer's key or TLS "
        "in the receivers is used. None has a fixed name, so that the capability CAPABILITY_IAM is enough. No role can "
        "delete a version "
        "of an object, a bucket, the ledger or the data store, or reach a bucket that is not the stack's.",
        *(_role_section(paid, role, free) for role in service.roles(release) + importing.roles() + [preflight.role()]),
        _resource_policies(template),
    )


def _when(statement: Json) -> tuple[str, Json]:
    """The condition under which a stack has a statement, empty for always, and the statement."""
    if "Fn::If" not in statement:
        return "", statement
    condition, statement_if_true, _ = statement["Fn::If"]
    return condition, statement_if_true


def _resource_policies(template: Json) -> str:
    rows = []
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Lambda::Permission":
            source = _shown(properties["SourceArn"])
            rows.append(
                [f"**{name}**", "Allow", code(properties["Principal"]), code(properties["Action"]), f"`{source}`"]
            )
        if resource["Type"] in ("AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy"):
            for listed in properties["PolicyDocument"]["Statement"]:
                when, statement = _when(listed)
                principal = statement["Principal"]
                who = principal if isinstance(principal, str) else ", ".join(principal.values())
                title = f"**{name}** {statement['Sid']}" + (f", if {when}" if when else "")
                row = [title, statement["Effect"], code(who), code_lines(statement["Action"]), _conditions(statement)]
                rows.append(row)
    header = ["Policy and statement", "Effect", "Who", "Actions", "Conditions or source"]
    return "## Policies of buckets, topic and function\n\n" + table(header, rows)


# --- Resources, alarms, limits -------------------------------------------------------------------------------


def resources_page(template: Json) -> str:
    """Every resource and why it is there; every accepted finding of a rule set and why."""
    rows, accepted = [], []
    for name, resource in template["Resources"].items():
        metadata = resource["Metadata"]
        rows.append([f"**{name}**", code(resource["Type"].removeprefix("AWS::")), metadata[findings.CONTEXT]["why"]])
        accepted += [
            [name, finding["Reason"], ", ".join(map(code, finding["Rules"]))]
            for finding in metadata.get(findings.ACCEPTED_FINDINGS, [])
        ]
    return _page(
        "Resources",
        parameters.ARCHITECTURE,
        table(["Resource", "Type", "Why it is there"], rows),
        "## Accepted findings\n\n`make audit` holds the template, in modes with every pair of choices, to cfn-lint, "
        "checkov, trivy, cfripper, AWS Control Tower's proactive controls and the AWS Solutions, HIPAA, NIST 800-53, "
        "PCI DSS and serverless packs of cdk-nag. These findings are accepted; the reasons stand beside the resources "
        "in the template too.\n\n" + table(["Resource", "Reason", "Rules"], accepted),
    )


def alarms_page() -> str:
    """Every alarm: its limit, what to do, and when it is over."""
    rows = [
        [
            f"**{alarm.logical_id}**",
            f"{alarm.statistic} of `{alarm.namespace}` {alarm.metric} "
            f"{'above' if alarm.comparison == alarms.ABOVE else 'below'} {alarm.threshold}, "
            f"{_shown(alarm.periods)} × {alarm.period_seconds} s",
            f"{alarm.happened} First step: {alarm.first_step}",
            "it is dealt with" if alarm.is_state else "it has not happened again",
        ]
        for alarm in (*alarms.ALARMS, monitoring.FEWER_TASKS)
    ]
    saved = [[f"**{query.logical_id}**", query.title] for query in queries.QUERIES]
    return _page(
        "Alarms",
        "Every alarm goes to one topic, when it starts and when it is over; `AlarmEmail` subscribes an address to it. "
        "Each message names the stack, what happened and the first step, and links to the log or place to look at. No "
        "message holds a patient's data.",
        table(["Alarm", "Starts when", "What happened, and what to do", "OK when"], rows),
        "## Saved queries\n\nIn CloudWatch Logs Insights, in a folder with the stack's name:\n\n"
        + table(["Query", "Question"], saved),
    )


def limits_page() -> str:
    """The chain of time limits."""
    rows = [[limit.who, limit.waits_for, limit.limit, limit.then] for limit in timeouts.TIME_LIMITS]
    return _page(
        "The chain of time limits",
        "Who waits for whom, for how long, and what happens then. Each limit is longer than the one it waits for, so "
        "that the part which knows most about a failure ends the connection, in DICOM's own words.",
        table(["Who", "waits for", "for", "and then"], rows),
        "An association that outlives a deployment has "
        f"{timeouts.DEREGISTRATION_DELAY_SECONDS} + {timeouts.RECEIVER_STOP_SECONDS} seconds to end by itself. "
        "Scale-in spares a receiver with open associations: it asks ECS for scale-in protection, a few minutes "
        "at a time.",
    )


# --- The customer's key --------------------------------------------------------------------------------------


def key_policy(region: str, account: str) -> Json:
    """A key policy that the template works with.

    The first statement lets IAM policies decide, the stack's and those of whoever launches it; the others are for
    services that use the key without a role of this account.
    """
    root = {"AWS": f"arn:aws:iam::{account}:root"}
    logs = {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": f"arn:aws:logs:{region}:{account}:*"}}
    log_actions = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]

    def service_statement(sid: str, principal: str, actions: list[str], condition: Json | None = None) -> Json:
        statement = {"Sid": sid, "Effect": "Allow", "Principal": {"Service": principal}, "Action": actions}
        return {**statement, "Resource": "*", **({"Condition": condition} if condition else {})}

    return {
        "Version": iam.POLICY_LANGUAGE,
        "Statement": [
            {"Sid": "LetIamDecide", "Effect": "Allow", "Principal": root, "Action": "kms:*", "Resource": "*"},
            service_statement("EncryptLogs", f"logs.{region}.amazonaws.com", log_actions, logs),
            # SNS's guide gives this statement without a condition.
            service_statement("PublishAlarms", "cloudwatch.amazonaws.com", ["kms:Decrypt", "kms:GenerateDataKey*"]),
            # HealthImaging's guide gives this one without a condition, too.
            service_statement("KeepImages", "medical-imaging.amazonaws.com", ["kms:Decrypt", "kms:GenerateDataKey*"]),
        ],
    }


def key_page() -> str:
    """What the policy of a customer's key must allow."""
    policy = json.dumps(key_policy("us-east-1", "123456789012"), indent=2)
    return _page(
        "A key of your own",
        "With `KmsKeyARN` a symmetric key of your own encrypts the landing and results buckets, the ledger, the logs, "
        "the importer's settings, the alarm topic and a new data store. The bucket of access logs keeps S3's own key, "
        "the only one that S3 delivers access logs with; the log of the preflight check, which names resources only, "
        "keeps CloudWatch's own, so that the check can say what is wrong with yours. "
        "The key must be in the stack's Region and stay enabled: "
        "without it, images can be neither stored nor imported, and devices are told so.",
        "The key's policy must let the account's IAM policies decide, and let CloudWatch Logs, CloudWatch alarms "
        f"and HealthImaging use the key. With your Region and account:\n\n```json\n{policy}\n```",
        "HealthImaging, Amazon S3 and DynamoDB use the key in the name of the stack's own roles, which have what they "
        "need for it. The role that imports needs `kms:DescribeKey`, `kms:GenerateDataKey`, `kms:Decrypt` and "
        "`kms:ReEncrypt*` through HealthImaging.",
        "Whoever launches the stack needs `kms:CreateGrant`, `kms:RetireGrant`, `kms:DescribeKey`, `kms:Decrypt`, "
        "`kms:GenerateDataKey` and `kms:Encrypt` on the key: DynamoDB, Lambda and HealthImaging take grants "
        "in their name.",
        "A data store's key is fixed when it is made. Giving or changing `KmsKeyARN` later makes a new, empty data "
        "store; the old one stays, with its images, and is no longer imported into. To keep it, give its id as "
        "`DatastoreID`.",
    )
