"""Parameters of capacity: size and number of receivers."""

from __future__ import annotations

from storescp_cfn.template import fargate
from storescp_cfn.template.parameters.spec import CHANGEABLE, LEFT, choice

MOST_DESIRED_TASKS = 10
MOST_TASKS = 20

SPECS = (
    choice(
        "TaskDesiredCount",
        CHANGEABLE,
        "how many receivers always run?",
        "Two or more keep receiving when an Availability Zone fails. Example: 2",
        2,
        tuple(range(1, MOST_DESIRED_TASKS + 1)),
    ),
    choice(
        "AutoscaleMaxCapacity",
        CHANGEABLE,
        "how many receivers may run at most?",
        "How many receivers may run when many devices send at once; at least TaskDesiredCount. Example: 4",
        4,
        tuple(range(1, MOST_TASKS + 1)),
    ),
    choice(
        "TaskCPU",
        LEFT,
        "how many CPU units has a receiver?",
        "1024 units are one vCPU. Example: 512",
        512,
        fargate.CPU_SIZES,
    ),
    choice(
        "TaskMemoryLimit",
        LEFT,
        "how much memory has a receiver, MiB?",
        "It must go with the CPU units: 256 with 512 to 2048, 512 with 1024 to 4096, 1024 with 2048 to 8192, 2048 with "
        "4096 to 16384, 4096 with 8192 to 30720. Example: 1024",
        1024,
        fargate.MEMORY_SIZES_MIB,
    ),
    choice(
        "CpuArchitecture",
        LEFT,
        "which processor?",
        "ARM64 costs about a fifth less, but is missing in some Availability Zones, such as use1-az3. Example: X86_64",
        "X86_64",
        ("X86_64", "ARM64"),
    ),
)
