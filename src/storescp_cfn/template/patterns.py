"""Regular expressions for `AllowedPattern`, built from what they mean.

CloudFormation evaluates them as Java does and matches the whole value; only syntax that Java and Python share is used.
"""

from __future__ import annotations

_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"

# PS3.5 6.2, VR AE: 1 to 16 characters of the default repertoire, no backslash and no control character. Leading and
# trailing spaces are not significant there; they are refused, because two devices that differ in them look alike. So is
# the comma, which separates titles in the receiver's settings.
AE_TITLE = r"[!-+\--\[\]-~]([ -+\--\[\]-~]{0,14}[!-+\--\[\]-~])?"

# AE title=host:port, or with tls://; a title here has no `=`. Host: a name, an IPv4 or, in brackets, an IPv6 address.
_TITLE_WITHOUT_EQUALS = r"[!-+\--<>-\[\]-~]([ -+\--<>-\[\]-~]{0,14}[!-+\--<>-\[\]-~])?"
_HOST = r"([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])"

# PS3.5 9.1: at most 64 characters, components of digits without leading zeros.
UID_IN_LIST = r"(?=[0-9.]{1,64}(,|$))(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+"

# https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html
ECR_IMAGE = (
    r"[0-9]{12}\.dkr\.ecr\.[a-z]{2}(-[a-z]+)+-[0-9]\.amazonaws\.com/[a-z0-9]+([._/-][a-z0-9]+)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}(@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})"
)

_ACCOUNT = "[0-9]{12}"
_REGIONAL = f"[a-z0-9-]+:{_ACCOUNT}"
CERTIFICATE_ARN = rf"arn:aws[a-z-]*:acm:{_REGIONAL}:certificate/[0-9a-f-]{{36}}"
KEY_ARN = rf"arn:aws[a-z-]*:kms:{_REGIONAL}:key/(mrk-[0-9a-f]{{32}}|[0-9a-f-]{{36}})"
# https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html: a name, and six characters
SECRET_ARN = rf"arn:aws[a-z-]*:secretsmanager:{_REGIONAL}:secret:[A-Za-z0-9/_+=.@-]{{1,512}}-[A-Za-z0-9]{{6}}"
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns
PRINCIPAL_ARN = rf"arn:aws[a-z-]*:iam::{_ACCOUNT}:(role|user)/([A-Za-z0-9+=,.@_-]+/)*[A-Za-z0-9+=,.@_-]+"


def whole(pattern: str) -> str:
    """Anchor a pattern at both ends."""
    return f"^{pattern}$"


def optional(pattern: str) -> str:
    """A pattern that matches the empty value too."""
    return f"^({pattern})?$"


def listed(pattern: str) -> str:
    """One or more, with a comma between them.

    A String, because CloudFormation holds a CommaDelimitedList's pattern to each member and so lets `A,,B` through
    where an empty list is allowed.
    """
    return f"{pattern}(,{pattern})*"


def cidr(shortest_prefix: int, longest_prefix: int) -> str:
    """An IPv4 network in CIDR notation with a prefix length in the given range, both ends included."""
    return rf"({_OCTET}\.){{3}}{_OCTET}/{integer(shortest_prefix, longest_prefix)}"


def integer(low: int, high: int) -> str:
    """A whole number from `low` to `high`, both included, without sign or leading zeros; 0 <= low <= high."""
    return "(" + "|".join(_ranges(low, high)) + ")"


def _ranges(low: int, high: int) -> list[str]:
    """Alternatives that together match the numbers from low to high: split where the number of free digits changes."""
    alternatives = []
    while low <= high:
        free = _free_digits(low, high)
        span = 10**free
        top = low + span * min(9 - (low // span) % 10, (high + 1 - low) // span - 1)
        first, last = str(low // span), str(top // span)
        head = first[:-1]
        digit = first[-1] if first == last else f"[{first[-1]}-{last[-1]}]"
        alternatives.append(head + digit + ("" if free == 0 else "[0-9]" if free == 1 else f"[0-9]{{{free}}}"))
        low = top + span
    return alternatives


def _free_digits(low: int, high: int) -> int:
    """How many trailing digits of `low` may take any value without leaving the range or changing the length."""
    free = 0
    while low % 10 ** (free + 1) == 0 and low >= 10 ** (free + 1) and low + 10 ** (free + 1) - 1 <= high:
        free += 1
    return free


def one_of(*alternatives: str) -> str:
    """A pattern that matches what any of the alternatives does."""
    return f"({'|'.join(alternatives)})"


# A site's network, or a whole private one: what is wider than /16 is nobody's own on the internet.
PEER_NETWORK = one_of(cidr(16, 32), rf"10\.({_OCTET}\.){{2}}{_OCTET}/{integer(8, 15)}")

COMMITMENT_DEVICE = f"{_TITLE_WITHOUT_EQUALS}=(tls://)?{_HOST}:{integer(1, 65535)}"
