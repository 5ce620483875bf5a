"""`storescp-cfn devices`: a sheet to print for each device, from outputs and parameters, as text and HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from storescp_cfn.account import ledger
from storescp_cfn.account.deployment import Deployment
from storescp_cfn.account.errors import AccountError
from storescp_cfn.account.screen import Level, Line, Screen

LABEL_WIDTH = 25
ANY_DEVICE = "(this device's own AE title)"
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 12pt/1.5 sans-serif; margin: 2cm; color: #000; }}
section {{ page-break-after: always; }}
section:last-child {{ page-break-after: auto; }}
h1 {{ font-size: 18pt; }} h2 {{ font-size: 13pt; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ border: 1px solid #000; padding: .4em .6em; text-align: left; vertical-align: top; }}
th {{ width: 30%; font-weight: normal; }}
td {{ font-family: monospace; font-size: 13pt; overflow-wrap: anywhere; }}
</style></head>
<body>
{sections}
</body></html>
"""


@dataclass(frozen=True)
class Sheet:
    """What somebody types into one device."""

    title: str
    settings: Sequence[tuple[str, str]]
    switch_off: Sequence[str]
    test: Sequence[str]


def sheets(deployment: Deployment, titles: Sequence[str]) -> list[Sheet]:
    """A sheet for each title; without any, one for any device. Raises AccountError: while the stack is not complete."""
    return [sheet(deployment, title) for title in titles] or [sheet(deployment, "")]


def known_titles(deployment: Deployment) -> list[str]:
    """Titles that the stack knows: those that may call, those that ask for commitment, those that have sent."""
    parameters = deployment.parameters
    titles = set(_members(parameters.get("RequireCallingAETitle", "")))
    titles |= {entry.partition("=")[0] for entry in _members(parameters.get("CommitmentDevices", ""))}
    try:
        rows = ledger.of(deployment).query("DEVICES", "DEVICE#")
        titles |= {ledger.text(row, "sk").removeprefix("DEVICE#") for row in rows}
    except AccountError:
        pass  # who may not read the ledger still gets a sheet
    return sorted(titles)


def _members(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def sheet(deployment: Deployment, title: str) -> Sheet:
    """The sheet of one device. Raises AccountError: while the stack is not complete."""
    parameters = deployment.parameters
    commits = title in {entry.partition("=")[0] for entry in _members(parameters.get("CommitmentDevices", ""))}
    networks = [value for name in ("PeerCIDR1", "PeerCIDR2", "PeerCIDR3") if (value := parameters.get(name))]
    host, port = deployment.output("NetworkLoadBalancerDNS"), deployment.output("DICOMPort")
    settings = [
        ("Host name", host),
        ("Port", port),
        ("Called AE Title", deployment.output("DICOMAETitle")),
        ("Calling AE Title", title or ANY_DEVICE),
        ("TLS", tls_text(deployment)),
        ("Storage commitment", "on, at the same host, port and AE title" if commits else "off"),
        ("Comes from a network of", ", ".join(networks) or "(any that the stack allows)"),
        ("Time-outs", "at least 60 s for an answer, 90 s for silence"),
        ("Compression", "as the device makes it; nothing has to be switched off"),
    ]
    switch_off = [
        "Query/Retrieve, worklist, MPPS and printing for this host: it only stores.",
        "An address in place of the host name: each belongs to one Availability Zone, and stops with it.",
    ]
    if not commits:
        switch_off.append(
            "Storage commitment, and deleting images as soon as they are sent: ask for it to be set up first."
        )
    return Sheet(
        title or "Any device",
        settings,
        switch_off,
        [
            "Press the device's own connection test (Verification, C-ECHO, 'DICOM ping'): it has to succeed.",
            "Send one study, then ask: storescp-cfn status" + (f" --device {title}" if title else ""),
        ],
    )


def tls_text(deployment: Deployment) -> str:
    """Whether and how the device encrypts."""
    if deployment.parameters.get("TLSCertificateARN"):
        return "on, TLS 1.2 or 1.3, without a client certificate"
    if any(name.startswith("TLS") and value for name, value in deployment.parameters.items()):
        return "on, TLS 1.2 or 1.3; ask whether a client certificate is needed"
    return "off: only through a VPN or Direct Connect"


def as_text(sheet: Sheet) -> str:
    """A sheet at 80 columns."""
    import textwrap

    lines = [f"DICOM settings for {sheet.title}", "=" * 80]
    for label, value in sheet.settings:
        indent = " " * LABEL_WIDTH
        lines += textwrap.wrap(
            value, 80, initial_indent=f"{label:<{LABEL_WIDTH}}", subsequent_indent=indent, break_long_words=False
        )
    for heading, entries in (("Switch off", sheet.switch_off), ("Test", sheet.test)):
        lines += ["", heading]
        for entry in entries:
            lines += textwrap.wrap(entry, 80, initial_indent="- ", subsequent_indent="  ")
    return "\n".join(lines) + "\n"


def as_html(deployment: Deployment, made: Sequence[Sheet]) -> str:
    """All sheets as one page, each on a sheet of paper."""
    return PAGE.format(title=html.escape(f"DICOM settings, {deployment.name}"), sections="\n".join(map(_section, made)))


def _section(sheet: Sheet) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(label)}</th><td>{html.escape(value)}</td></tr>" for label, value in sheet.settings
    )
    lists = "".join(
        f"<h2>{heading}</h2><ul>{''.join(f'<li>{html.escape(entry)}</li>' for entry in entries)}</ul>"
        for heading, entries in (("Switch off", sheet.switch_off), ("Test", sheet.test))
    )
    return f"<section><h1>DICOM settings for {html.escape(sheet.title)}</h1><table>{rows}</table>{lists}</section>"


def screen(deployment: Deployment, made: Sequence[Sheet], html_file: str = "") -> Screen:
    """The sheets as text; or where the page was written to."""
    facts = {"devices": [{"device": one.title, **dict(one.settings)} for one in made]}
    if html_file:
        line = Line(Level.OK, f"{html_file} holds {len(made)} sheets.", "print it from a browser", "html")
        return Screen("Sheets are written.", [line], facts=facts)
    text = "\n\n".join(as_text(one) for one in made)
    return Screen(f"Settings for {deployment.name}, to be typed into each device.", facts=facts, text=text)
