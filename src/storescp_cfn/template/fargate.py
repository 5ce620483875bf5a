"""The sizes that Fargate knows: memory, in MiB, for each CPU size, in CPU units (1,024 are one vCPU).

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html#fargate-tasks-size. Sizes beyond
4 vCPU are left out: more receivers help a hospital, bigger ones do not.
"""

from __future__ import annotations

from troposphere import FindInMap, Ref, Template

MEMORY_MIB_OF_CPU: dict[int, tuple[int, ...]] = {
    256: (512, 1024, 2048),
    512: tuple(range(1024, 4096 + 1, 1024)),
    1024: tuple(range(2048, 8192 + 1, 1024)),
    2048: tuple(range(4096, 16384 + 1, 1024)),
    4096: tuple(range(8192, 30720 + 1, 1024)),
}
# Receiver processes by CPU size: one for each whole vCPU. Fargate shows two processors to a task of a quarter of one.
WORKERS_OF_CPU = {256: 1, 512: 1, 1024: 1, 2048: 2, 4096: 4}
MAPPING = "Fargate"
CPU_SIZES = tuple(MEMORY_MIB_OF_CPU)
MEMORY_SIZES_MIB = tuple(sorted({size for sizes in MEMORY_MIB_OF_CPU.values() for size in sizes}))


def workers() -> FindInMap:
    """How many processes a receiver of the stack's TaskCPU has."""
    return FindInMap(MAPPING, Ref("TaskCPU"), "Workers")


def add_to(template: Template) -> None:
    """Add the mapping."""
    template.add_mapping(MAPPING, {str(cpu): {"Workers": str(count)} for cpu, count in WORKERS_OF_CPU.items()})
