"""A sandbox runs Python, and starts cheaply."""

from pathlib import Path

import pytest

from tests.executor import seen
from tests.executor.kernel_client import connect, run


async def test_a_cell_prints(sandbox: seen.Any) -> None:
    assert (await run(sandbox, "print(6 * 7)")).stdout == "42\n"


async def test_variables_last_from_cell_to_cell(sandbox: seen.Any) -> None:
    async with connect(sandbox) as client:
        await client.run("x = 5")
        assert (await client.run("print(x)")).stdout == "5\n"


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.sandbox
async def test_t30_gateway_and_kernel_start_within_their_budget(sandbox: seen.Any) -> None:
    """One careless import costs a second: see what rfc3987-syntax did to the stock gateway."""
    await run(sandbox, "1")
    gateway, [kernel] = seen.gateway(sandbox), seen.named(sandbox, "/kernel.py")
    assert cpu_seconds(gateway) <= 0.9 and cpu_seconds(kernel) <= 1.3
