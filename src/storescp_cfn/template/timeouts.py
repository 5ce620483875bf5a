"""The chain of time limits between a device and the store, in one place.

Each limit is longer than the one it waits for, so that the part which knows most about a failure ends the connection:
the receiver answers or aborts in DICOM's own words before the load balancer would reset the connection, and ECS waits
for a stopping receiver longer than the receiver waits for its associations.
"""

from __future__ import annotations

from dataclasses import dataclass

HEALTH_CHECK_INTERVAL_SECONDS = 10
HEALTH_CHECK_TIMEOUT_SECONDS = 6
HEALTHY_AFTER_CHECKS = 2
UNHEALTHY_AFTER_CHECKS = 3
# A receiver's start, image pull excluded: ECS does not count failed checks before it.
HEALTH_CHECK_GRACE_SECONDS = 60
# Fixed for TLS listeners, so TCP listeners get the same.
# https://docs.aws.amazon.com/elasticloadbalancing/latest/network/load-balancer-listeners.html
LOAD_BALANCER_IDLE_SECONDS = 350
# No new connection reaches a receiver that is being replaced; those it has go on for this long before SIGTERM.
DEREGISTRATION_DELAY_SECONDS = 300
# The receiver's own limit after SIGTERM, then what ECS allows it at most on Fargate.
RECEIVER_STOP_SECONDS = 110
CONTAINER_STOP_SECONDS = 120
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-timeout.html
IMPORTER_TIMEOUT_SECONDS = 900
# A wake-up is worth nothing once the next minute's has come.
WAKE_UP_AGE_SECONDS = 60
UNSETTLED_BATCH_ALARM_SECONDS = 1800
CERTIFICATE_ALARM_DAYS = 30


@dataclass(frozen=True)
class TimeLimit:
    """One limit of the chain: who waits, for what, for how long, and what happens then."""

    who: str
    waits_for: str
    limit: str
    then: str


TIME_LIMITS = (
    TimeLimit(
        "receiver",
        "Amazon S3 to store one image",
        "`DIMSETimeout`, 60 s; at most 300 s",
        "C-STORE is answered with a failure (A700H); the device keeps the image and sends it again",
    ),
    TimeLimit(
        "receiver",
        "the next byte of a silent association",
        "`NetworkTimeout`, 90 s; at most 300 s",
        "A-ABORT; images already acknowledged are safe",
    ),
    TimeLimit(
        "load balancer",
        "the next byte of a connection",
        f"{LOAD_BALANCER_IDLE_SECONDS} s (TCP as TLS, where AWS fixes it)",
        "a TCP reset; never reached, because both limits above end earlier",
    ),
    TimeLimit(
        "load balancer",
        "a receiver to say that it is ready",
        f"{UNHEALTHY_AFTER_CHECKS} checks, {HEALTH_CHECK_INTERVAL_SECONDS} s apart",
        "no new association is sent to it; the ones it has go on",
    ),
    TimeLimit(
        "ECS",
        "the associations of a receiver that is replaced or scaled in",
        f"{DEREGISTRATION_DELAY_SECONDS} s, the target group's deregistration delay",
        "SIGTERM",
    ),
    TimeLimit(
        "receiver",
        "its last associations after SIGTERM",
        f"{RECEIVER_STOP_SECONDS} s, `STOP_SECONDS`",
        "the rest are aborted, the batch is closed, exit 0",
    ),
    TimeLimit(
        "ECS",
        "the receiver to exit",
        f"{CONTAINER_STOP_SECONDS} s, the longest that Fargate allows",
        "SIGKILL; the importer adopts the batch from what is in the bucket",
    ),
    TimeLimit(
        "importer",
        "one run to end",
        f"{IMPORTER_TIMEOUT_SECONDS} s; it leaves in order 30 s earlier",
        "the next wake-up, a minute later at most, goes on",
    ),
    TimeLimit(
        "alarm",
        "a batch to be imported or quarantined",
        f"{UNSETTLED_BATCH_ALARM_SECONDS // 60} minutes",
        "a message to the alarm topic",
    ),
)
