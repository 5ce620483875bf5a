"""Where a bucket is found (Amazon S3 User Guide, "Methods for accessing a general purpose bucket")."""

from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server, and the path before an object's key."""

    host: str
    port: int
    host_header: str
    path: str  # ends with a slash
    is_tls: bool


def find_endpoint(bucket: str, region: str, url: str) -> Endpoint:
    """Return AWS's own endpoint of a bucket in `region`, or the one at `url`. Raises `ValueError`: it is no URL.

    The bucket's name is the first label of AWS's host name, unless it holds a dot: no certificate covers that.
    """
    if not url:
        host = f"s3.{region}.amazonaws.com"
        if "." in bucket:
            return Endpoint(host, 443, host, f"/{bucket}/", is_tls=True)
        host = f"{bucket}.{host}"
        return Endpoint(host, 443, host, "/", is_tls=True)
    address = urlsplit(url)
    is_tls = address.scheme == "https"
    port = address.port or (443 if is_tls else 80)
    host_header = address.netloc.rpartition("@")[2]
    return Endpoint(address.hostname or "", port, host_header, f"{address.path.rstrip('/')}/{bucket}/", is_tls)
