"""The chain of time limits between a device and the store, in one place.

Each limit is longer than the one it waits for, so that the part which knows most about a failure ends the connection:
the receiver answers or aborts in DICOM's own words before the load balancer would reset the connection, and ECS waits
for a stopping receiver longer than the receiver waits for its associations.
"""

from __future__ import annotations

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
