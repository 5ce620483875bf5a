"""A sheet that somebody can type into a device without asking back."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser

from storescp_cfn.account import devices
from storescp_cfn.account.deployment import Deployment
from tests.account import golden
from tests.account.conftest import Account

PARAMETERS = {
    "PeerCIDR1": "203.0.113.0/24",
    "RequireCallingAETitle": "CT1, MR1",
    "CommitmentDevices": "CT1=10.1.2.3:104",
    "TLSCertificateARN": "arn:aws:acm:us-east-1:000000000000:certificate/1",
}


def with_parameters(account: Account, **parameters: str) -> Deployment:
    return dataclasses.replace(account.deployment, parameters=parameters)


def test_the_sheets(account: Account) -> None:
    deployment = with_parameters(account, **PARAMETERS)
    account.put({"pk": "DEVICES", "sk": "DEVICE#US3"})
    titles = devices.known_titles(deployment)
    assert titles == ["CT1", "MR1", "US3"]
    golden.check("devices", devices.screen(deployment, devices.sheets(deployment, titles)))


def test_without_a_known_device_there_is_one_sheet_for_any(account: Account) -> None:
    deployment = with_parameters(account)
    [sheet] = devices.sheets(deployment, devices.known_titles(deployment))
    values = dict(sheet.settings)
    assert values["TLS"].startswith("off")
    assert values["Storage commitment"] == "off"


class Tags(HTMLParser):
    """The tags of a page, and whether each that is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_quotes_what_strangers_wrote(account: Account) -> None:
    deployment = with_parameters(account, **PARAMETERS)
    page = devices.as_html(deployment, devices.sheets(deployment, ["<CT1>", "MR1"]))
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.seen.count("section") == 2
    assert "&lt;CT1&gt;" in page
    assert "<CT1>" not in page
