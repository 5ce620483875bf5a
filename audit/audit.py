"""Judge the template with other people's rule sets, in each of its modes, and hold their findings to those it accepts.

Fails on a finding that no resource explains, and on an explanation that no rule set asks for any more.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from audit import modes
from storescp_cfn.template import evaluation, findings, render

HERE = Path(__file__).resolve().parent
CACHE = HERE.parent / ".cache" / "audit"
PYTHON_TOOLS = CACHE / "venv" / "bin"
NODE_MODULES = CACHE / "node_modules"
GUARD = NODE_MODULES / "@cdklabs" / "cdk-validator-cfnguard"
WHOLE = "template.json"

# cfn-guard's rules registry, whose rules are named in capitals, is in no package registry: what is written for it in
# the template was found with a copy of it, and cannot be looked after here.
REGISTRY_RULE = re.compile(r"(?!CKV)[A-Z0-9_]+")


class Finding(NamedTuple):
    """What a rule set found: in which template, by which rule, at which resource."""

    file: str
    rule: str
    resource: str


class ToolError(Exception):
    """A rule set did not run; the message says which, and what it said."""


def output_of(*command: str | Path, statuses: tuple[int, ...] = (0,)) -> str:
    """Standard output of a rule set; `statuses` are the exit statuses that mean that it ran."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, cwd=CACHE)
    if done.returncode not in statuses:
        raise ToolError(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def write_templates(folder: Path) -> dict[str, dict[str, Any]]:
    """Write the template as it is and as each mode leaves it; return them by file name."""
    template = json.loads(render().to_json())
    facts = evaluation.Facts(subnets=modes.EXAMPLE_SUBNETS)
    templates = {WHOLE: template}
    for mode in modes.modes():
        values = {**modes.EXAMPLE_NETWORK, **mode.parameters}
        templates[f"{mode.name}.json"] = evaluation.resolved(template, values, facts)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in templates.items():
        (folder / name).write_text(json.dumps(content, indent=1))
    return templates


def checkov(folder: Path) -> Iterator[Finding]:
    """https://www.checkov.io; findings that the template's metadata suppress count too."""
    command = (PYTHON_TOOLS / "checkov", "-d", folder, "--framework", "cloudformation", "--skip-download", "-o", "json")
    report = json.loads(output_of(*command, statuses=(0, 1)))
    results = report["results"]
    for check in [*results["failed_checks"], *results["skipped_checks"]]:
        yield Finding(Path(check["file_path"]).name, check["check_id"], check["resource"].split(".")[-1])


def trivy(folder: Path) -> Iterator[Finding]:
    """https://trivy.dev/docs/latest/scanner/misconfiguration/; where it names lines only, they name the resource."""
    quiet = ("--skip-check-update", "--disable-telemetry", "--skip-version-check", "-q")
    report = json.loads(output_of(PYTHON_TOOLS / "trivy", "config", *quiet, "-f", "json", folder))
    for result in report["Results"]:
        resources = resources_by_line(folder / result["Target"])
        for found in result.get("Misconfigurations", []):
            line = found["CauseMetadata"].get("StartLine") or 1
            yield Finding(result["Target"], found["ID"], resources[line - 1])


def resources_by_line(path: Path) -> list[str]:
    """The resource that each line of a template, indented by one, belongs to; empty before the first."""
    names, name, inside = [], "", False
    for line in path.read_text().splitlines():
        inside = line.startswith(' "Resources"') if re.match(r' "', line) else inside
        match = re.match(r'  "(\w+)": \{', line)
        name = match[1] if inside and match else name
        names.append(name if inside else "")
    return names


def cfripper(folder: Path) -> Iterator[Finding]:
    """https://github.com/Skyscanner/cfripper; one template at a time, because its report does not name them."""
    for path in sorted(folder.glob("*.json")):
        if path.name == WHOLE:  # it takes a condition for a value
            continue
        report = json.loads(output_of(PYTHON_TOOLS / "cfripper", path, "--format", "json", statuses=(0, 2)))
        for failure in [*report["failures"], *report["exceptions"]]:
            for resource in failure["resource_ids"]:
                yield Finding(path.name, failure["rule"], resource)


def guard(folder: Path) -> Iterator[Finding]:
    """AWS Control Tower's proactive controls, https://docs.aws.amazon.com/cfn-guard/latest/ug/."""
    platform = "macos" if sys.platform == "darwin" else "ubuntu"
    machine = (
        "aarch64" if subprocess.check_output(["uname", "-m"], text=True).strip() in ("arm64", "aarch64") else "x86_64"
    )
    binary = GUARD / "bin" / platform / machine / "cfn-guard"
    rules = GUARD / "rules" / "control-tower" / "cfn-guard"
    command = (binary, "validate", "-d", folder, "-r", rules, "-o", "json", "--structured", "-S", "none")
    for report in json.loads(output_of(*command, statuses=(0, 19))):
        name = Path(report["name"]).name
        if name == WHOLE:  # it takes a condition for a value
            continue
        for failed in report["not_compliant"]:
            for resource in sorted(set(re.findall(r'"path": "/Resources/(\w+)', json.dumps(failed)))):
                yield Finding(name, failed["Rule"]["name"], resource)


def cdk_nag(folder: Path) -> Iterator[Finding]:
    """https://github.com/cdklabs/cdk-nag: AWS Solutions, HIPAA, NIST 800-53 r4 and r5, PCI DSS, serverless."""
    resolved = sorted(path for path in folder.glob("*.json") if path.name != WHOLE)
    shutil.copy(HERE / "nag.js", CACHE)
    for line in output_of("node", "nag.js", *resolved).splitlines():
        yield Finding(**json.loads(line))


RULE_SETS = (checkov, trivy, cfripper, guard, cdk_nag)


def accepted(template: dict[str, Any]) -> dict[tuple[str, str], str]:
    """The reason for each rule and resource that the template accepts a finding of."""
    return {
        (rule, name): finding["Reason"]
        for name, resource in template["Resources"].items()
        for finding in resource.get("Metadata", {}).get(findings.ACCEPTED_FINDINGS, [])
        for rule in finding["Rules"]
    }


def main() -> int:
    """Run every rule set; return 0 if all is explained."""
    folder = CACHE / "templates"
    template = write_templates(folder)[WHOLE]
    reasons = accepted(template)
    files_of: dict[tuple[str, str], set[str]] = defaultdict(set)
    for rule_set in RULE_SETS:
        found = set(rule_set(folder))
        print(f"{rule_set.__name__}: {len({(f.rule, f.resource) for f in found})} findings", flush=True)
        for finding in found:
            files_of[finding.rule, finding.resource].add(finding.file)
    unexplained = {key: files for key, files in files_of.items() if key not in reasons}
    stale = [key for key in reasons if key not in files_of and not REGISTRY_RULE.fullmatch(key[0])]
    for (rule, resource), files in sorted(unexplained.items()):
        print(f"UNEXPLAINED {rule} at {resource}, in {len(files)} templates, such as {min(files)}")
    for rule, resource in sorted(stale):
        print(f"STALE {rule} is accepted at {resource}, and nothing finds it")
    explained = len(files_of) - len(unexplained)
    print(f"{explained} findings explained, {len(unexplained)} not, {len(stale)} explanations stale")
    return 1 if unexplained or stale else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ToolError as error:
        sys.exit(f"audit: {error}")
