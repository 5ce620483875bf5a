"""The checkout that a release is made from: what is committed, and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from storescp_cfn.marketplace.errors import BadInputError

# https://semver.org, "Is there a suggested regular expression". Builds (+) are refused,
# for image tags have none; prereleases (-), for AWS Marketplace takes no beta ("Container-based product requirements").
SEMANTIC_VERSION = r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"


@dataclass(frozen=True)
class Checkout:
    """A clean git checkout.

    Attributes:
        root: its folder.
        commit: the full hash of what is checked out.
        committed_at: RFC 3339 in UTC.
    """

    root: Path
    commit: str
    committed_at: str

    def read(self, name: str) -> bytes:
        """A file of the checkout.

        Raises:
            BadInputError: it is not there.
        """
        try:
            return (self.root / name).read_bytes()
        except OSError as error:
            raise BadInputError(f"{name} of the checkout cannot be read: {error.strerror}.") from error


def read_checkout(root: Path, version: str) -> Checkout:
    """Look at a checkout.

    Raises:
        BadInputError: it is no git checkout, something in it is not committed, or the version's tag is elsewhere.
    """
    if not (root / ".git").exists():
        raise BadInputError(f"{root} is not a git checkout: install storescp-cfn from one (pip install --editable).")
    dirty = _git(root, "status", "--porcelain", "--untracked-files=normal").splitlines()
    if dirty:
        raise BadInputError(
            f"The checkout {root} has {len(dirty)} uncommitted changes (first: {dirty[0][3:]}): commit or remove them."
        )
    commit, committed_at = _git(
        root, "show", "--no-patch", "--format=%H %cd", "--date=format-local:%Y-%m-%dT%H:%M:%SZ"
    ).split()
    tagged = _git(root, "tag", "--list", f"v{version}") and _git(root, "rev-list", "-n", "1", f"v{version}").strip()
    if tagged and tagged != commit:
        raise BadInputError(
            f"Version {version} exists: tag v{version} is at {tagged[:12]}, but {commit[:12]} is checked out."
        )
    return Checkout(root, commit, committed_at)


def require_version(version: str) -> None:
    """Raise BadInputError unless this is a version of Semantic Versioning."""
    if not re.fullmatch(SEMANTIC_VERSION, version):
        raise BadInputError(f"Version {version!r} is not MAJOR.MINOR.PATCH (Semantic Versioning), for example 1.2.0.")


def release_notes(changelog: str, version: str) -> str:
    """The changelog's section of a version, without its heading. What looks like a heading in a fenced block is none.

    Raises:
        BadInputError: there is none, or it is empty.
    """
    heading = re.compile(rf"## \[?v?{re.escape(version)}\]?(?=\s|$)")
    fence, inside, notes = "", False, []
    for line in changelog.splitlines():
        mark = re.match(r" {0,3}(```+|~~~+)", line)
        if mark and (not fence or (line.strip().startswith(fence) and not line.strip().strip(fence[0]))):
            fence = "" if fence else mark[1]
        elif not fence and line.startswith("## "):
            inside = heading.match(line) is not None
            continue
        if inside:
            notes.append(line)
    text = "\n".join(notes).strip()
    if not text:
        raise BadInputError(f"CHANGELOG.md has no notes below a heading '## {version}': write them first.")
    return text


def buyers_notes(notes: str, version: str) -> str:
    """What buyers read of a version's notes: the part below `### For customers (Critical)`, Important or Optional.

    Raises:
        BadInputError: there is no such part, or it is empty.
    """
    match = re.search(
        r"^### For customers \((Critical|Important|Optional)\)[ \t]*\n((?:(?!### ).*\n?)*)", notes, re.MULTILINE
    )
    text = match[2].strip() if match else ""
    if match is None or not text:
        raise BadInputError(
            f"CHANGELOG.md has nothing below '### For customers (Critical)', (Important) or (Optional) in its section "
            f"{version}: write what buyers have to know."
        )
    return f"{match[1]} update.\n\n{text}"


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=True, env=_utc())
    except FileNotFoundError as error:
        raise BadInputError("git is not installed: a release is made from a git checkout.") from error
    except subprocess.CalledProcessError as error:
        raise BadInputError(
            f"git {arguments[0]} failed in {root}: {(error.stderr.strip().splitlines() or ['no reason given'])[-1]}"
        ) from error
    return ended.stdout


def _utc() -> dict[str, str]:
    """The environment that makes git speak the same everywhere."""
    return {**os.environ, "TZ": "UTC", "LC_ALL": "C"}
