"""What a reviewer would look for, by name: what wakes the importer, the alarms, the dashboard and its queries.

Covers alarms.py, audit.py, logs.py, monitoring.py, queries.py, wake_ups.py.
"""

from __future__ import annotations

import json
import re

import pytest

from audit import modes
from storescp_cfn.template import alarms as alarm_specs
from storescp_cfn.template import monitoring
from tests.testkit.template_values import stack_resources

# --- Importer and alarms -------------------------------------------------------------------------------------


def test_the_importer_reserves_no_concurrency_and_is_woken_by_three_kinds_of_wake_up() -> None:
    resources = stack_resources(DatastoreID="0123456789abcdef0123456789abcdef")
    assert "ReservedConcurrentExecutions" not in resources["Importer"]["Properties"]
    rules = {name: r["Properties"] for name, r in resources.items() if r["Type"] == "AWS::Events::Rule"}
    assert rules["EveryMinuteRule"]["ScheduleExpression"] == "rate(1 minute)"
    ended = rules["ImportJobEndedRule"]["EventPattern"]
    assert ended["detail"] == {"datastoreId": ["0123456789abcdef0123456789abcdef"]}
    permissions = [r["Properties"]["SourceArn"] for r in resources.values() if r["Type"] == "AWS::Lambda::Permission"]
    of_rules = [source["Fn::GetAtt"][0] for source in permissions if "Fn::GetAtt" in source]
    assert sorted(of_rules) == sorted(rules)
    assert [source for source in permissions if "Ref" in source] == [{"Ref": "WakeUpTopic"}]
    assert all(
        rule["Targets"] == [{"Arn": {"Fn::GetAtt": ["Importer", "Arn"]}, "Id": "Importer"}] for rule in rules.values()
    )
    told = resources["LandingBucket"]["Properties"]["NotificationConfiguration"]
    assert set(told) == {"TopicConfigurations"}
    prefixes = [entry["Filter"]["S3Key"]["Rules"][0]["Value"] for entry in told["TopicConfigurations"]]
    assert prefixes == ["batches/", "commitments/requests/"]
    assert {json.dumps(entry["Topic"]) for entry in told["TopicConfigurations"]} == {'{"Ref": "WakeUpTopic"}'}
    subscription = resources["WakeUpSubscription"]["Properties"]
    assert (subscription["Protocol"], subscription["Endpoint"]) == ("lambda", {"Fn::GetAtt": ["Importer", "Arn"]})


def test_every_alarm_goes_to_one_topic_when_it_starts_and_when_it_is_over() -> None:
    pair = {"TLSCertificateSecretARN": modes.SECRET.format("c"), "TLSKeySecretARN": modes.SECRET.format("k")}
    resources = stack_resources(TLSCertificateARN=modes.CERTIFICATE, SilenceHours="24", **pair)
    assert "SilenceAlarm" not in stack_resources(SilenceHours="0")
    alarms = {name: r["Properties"] for name, r in resources.items() if r["Type"] == "AWS::CloudWatch::Alarm"}
    assert set(alarms) == {alarm.logical_id for alarm in alarm_specs.ALARMS} | {monitoring.FEWER_TASKS_ALARM}
    for alarm in alarms.values():
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "AlarmTopic"}]
        message = alarm["AlarmDescription"]
        text = message if isinstance(message, str) else message["Fn::Sub"]
        assert text.startswith("Stack StoreSCP: ")
        assert " First step: " in text
        assert len(text) < 700  # names that CloudFormation makes come to it; 1,024 are allowed


@pytest.mark.parametrize("email", ["", "pacs-team@hospital.example"])
def test_an_address_is_subscribed_only_if_one_is_given(email: str) -> None:
    resources = stack_resources(AlarmEmail=email)
    assert ("AlarmSubscription" in resources) == bool(email)


def test_the_dashboard_is_valid_and_speaks_of_what_an_administrator_asks() -> None:
    text, names = stack_resources()["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    assert set(names) == {"ServiceName"}
    widgets = json.loads(text)["widgets"]
    assert all(widget["x"] + widget["width"] <= 24 for widget in widgets)
    assert [widget["type"] for widget in widgets[:5]] == ["text", "metric", "metric", "metric", "alarm"]
    assert [widget["type"] for widget in widgets[-3:]] == ["log", "log", "log"]
    taken = {
        (x, y) for w in widgets for x in range(w["x"], w["x"] + w["width"]) for y in range(w["y"], w["y"] + w["height"])
    }
    assert len(taken) == sum(widget["width"] * widget["height"] for widget in widgets)  # none covers another
    curves = [w["properties"] for w in widgets if w["properties"].get("view") == "timeSeries"]
    assert all(curve["yAxis"]["left"]["label"] for curve in curves)
    assert [curve["title"] for curve in curves if "SecondsToImageSet" in json.dumps(curve)] == [
        "From the last image to the image set"
    ]
    labels = {line[-1]["label"] for w in widgets for line in w["properties"].get("metrics", [])}
    assert {"received", "acknowledged", "imported", "quarantined", "running", "accepted", "median"} <= labels
    alarms = next(widget["properties"]["alarms"] for widget in widgets if widget["type"] == "alarm")
    always = [alarm.logical_id for alarm in alarm_specs.ALARMS if not alarm.condition]
    assert alarms == [f"${{{name}.Arn}}" for name in (*always, monitoring.FEWER_TASKS_ALARM)]


def test_the_query_for_refused_images_reads_the_receivers_line() -> None:
    from storescp_cfn.template.queries import REFUSED

    (pattern,) = re.findall(r"parse @message /(.*)/", REFUSED.text)
    line = json.dumps({"message": "association ended", "failures": {"0xA700 Object store failed": 3}})
    for written in (line, line.replace(": ", ":")):
        found = re.search(pattern.replace("(?<", "(?P<"), written)
        assert found is not None
        assert found.groupdict() == {"status": "A700", "refused": "3"}
