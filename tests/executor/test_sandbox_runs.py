"""A sandbox runs Python."""

from executor.sandbox.running import Running
from tests.executor.kernel_client import connect, run


async def test_a_cell_prints(sandbox: Running) -> None:
    assert (await run(sandbox, "print(6 * 7)")).stdout == "42\n"


async def test_variables_last_from_cell_to_cell(sandbox: Running) -> None:
    async with connect(sandbox) as client:
        await client.run("x = 5")
        assert (await client.run("print(x)")).stdout == "5\n"
