"""Warm sandboxes: there before they are wanted, like cold ones in everything, each for one conversation."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import time
from contextlib import asynccontextmanager

import pytest

from executor.lifecycle import Reason, State
from executor.local import make_manager
from executor.pool import importing
from executor.sandbox.base import Profile
from executor.settings import Settings
from executor.wire import KernelState, Outcome
from tests.support.kernels import Chat, managing

pytestmark = pytest.mark.sandbox


@asynccontextmanager
async def warmed(data_dir, warm=1, preimport="", **settings):
    async with managing(data_dir, warm=warm, preimport=preimport, **settings) as manager:
        manager.begin()
        await depth(manager, warm)
        yield manager


async def depth(manager, wanted: int, within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while manager.counts.depth != wanted:
            await asyncio.sleep(0.02)


def ready(manager):
    return manager._supply.pool._ready


async def test_a_first_cell_gets_the_warm_sandbox_and_another_one_is_made(tmp_path, by):
    async with warmed(tmp_path, **by) as manager:
        chat, waiting = Chat(manager), ready(manager)[0]
        ran = await chat.run("print(1)")
        assert ran.text() == "1\n" and ran.fresh and ran.closed.execution_count == 1
        assert chat.sandbox is waiting.sandbox and waiting.life.warm and waiting.life.state is State.IDLE
        assert chat.sandbox.conversation == chat.id
        assert manager.counts.claims["warm"].count == 1 and manager.counts.claims["cold"].count == 0
        await depth(manager, 1)
        assert ready(manager)[0].sandbox is not waiting.sandbox


async def test_t10_a_warm_sandbox_is_made_to_the_same_spec_as_a_cold_one(tmp_path, by):
    async with warmed(tmp_path, **by, max=4) as manager:
        one, two = Chat(manager), Chat(manager)
        made_warm = ready(manager)[0].sandbox
        spec = made_warm.spec
        await one.run("1")
        manager._supply.pool._size = 0
        for live in list(ready(manager)):
            ready(manager).remove(live)
            await manager._supply.pool.throw_away(live, Reason.RELEASED)
        await two.run("1")
        cold = two.sandbox.spec
        assert one.sandbox is made_warm and manager.counts.claims["cold"].count == 1
        assert dataclasses.replace(spec, id="", workspace=tmp_path) == dataclasses.replace(cold, id="", workspace=tmp_path)
        probe = (
            "import os, json, resource\n"
            "limits = {n: resource.getrlimit(getattr(resource, n)) for n in dir(resource) if n.startswith('RLIMIT')}\n"
            "status = [l for l in open('/proc/self/status') if l.startswith(('Cap', 'Seccomp', 'NoNewPrivs'))]\n"
            "import re\n"
            "own = '([ug]id|lowerdir|upperdir|workdir)=[^ ,]+'\n"  # the sandbox's own user and layer
            "mounts = sorted(re.sub(own, '', ' '.join(l.split()[1:4])) for l in open('/proc/self/mounts'))\n"
            "environ = sorted((k, v) for k, v in os.environ.items() if k != 'JPY_PARENT_PID')\n"
            "print(json.dumps([limits, status, mounts, environ, os.uname()[1]], default=str))"
        )
        seen = [(await chat.run(probe)).text() for chat in (one, two)]
        assert seen[0] == seen[1] and len(seen[0]) > 500


async def test_t12_nothing_of_one_conversation_is_seen_by_a_later_one(tmp_path, by):
    marker = "marker-of-the-first"
    async with warmed(tmp_path, **by) as manager:
        first = Chat(manager)
        ran = await first.run(
            f"import os, sys\nleft = '{marker}'\nos.environ['LEFT'] = left\nsys.left = left\n"
            "for place in ('/tmp', '/dev/shm', '/workspace', '/run/ipython'):\n"
            "    try: open(place + '/left', 'w').write(left)\n    except OSError: pass\n"
            "import subprocess; p = subprocess.Popen(['sleep', '300'])"
        )
        assert ran.outcome is Outcome.OK
        await manager.remove(first.id)
        for _ in range(2):
            await depth(manager, 1)
            later = Chat(manager)
            found = await later.run(
                "import os, sys, glob\n"
                "print('left' in globals(), os.environ.get('LEFT'), hasattr(sys, 'left'))\n"
                "print([p for d in ('/tmp', '/dev/shm', '/workspace', '/run/ipython') for p in glob.glob(d + '/left')])\n"
                "print([p for p in glob.glob('/proc/[0-9]*/cmdline') if b'sleep' in open(p, 'rb').read()])"
            )
            assert found.text() == "False None False\n[]\n[]\n"
            await manager.remove(later.id)


async def test_a_returning_conversation_finds_its_files_in_a_warm_sandbox(tmp_path, by):
    async with warmed(tmp_path, **by, warm=1) as manager:
        chat = Chat(manager)
        await chat.run("import os\nos.makedirs('d/e')\nopen('d/e/f', 'w').write('deep')\nos.symlink('/etc', 'link')")
        slot = manager._slots[chat.id]
        await slot.drop(Reason.IDLE)
        await depth(manager, 1)
        waiting = ready(manager)[0].sandbox
        ran = await chat.run("import os\nprint(open('d/e/f').read(), os.readlink('link'))\nopen('d/e/f', 'a').write('er')")
        assert ran.text() == "deep /etc\n" and ran.fresh and chat.sandbox is waiting
        assert (chat.workspace / "d" / "e" / "f").read_text() == "deeper"
        assert [(f.path, f.change) for f in ran.closed.files] == [("d/e/f", "changed")]


async def test_libraries_are_imported_beforehand_and_leave_no_trace(tmp_path, by):
    async with warmed(tmp_path, **by, preimport="numpy, matplotlib.pyplot, no_such_module") as manager:
        chat = Chat(manager)
        ran = await chat.run("import sys\nprint('numpy' in sys.modules, 'matplotlib.pyplot' in sys.modules)\ndel sys")
        assert ran.text() == "True True\n" and ran.closed.execution_count == 1
        traces = (
            "import os\nprint(sorted(dir()), get_ipython().execution_count, len(In), Out, repr(_), repr(__))\n"
            "print(os.listdir(), len(list(get_ipython().history_manager.get_range())))"
        )
        async with managing(tmp_path / "cold", **by) as other:
            cold = Chat(other)
            await cold.run("import sys\nprint('numpy' in sys.modules, 'matplotlib.pyplot' in sys.modules)\ndel sys")
            assert (await chat.run(traces)).text() == (await cold.run(traces)).text()
        plot = await chat.run("import matplotlib.pyplot as plt\n_ = plt.plot([1, 2])")
        assert any(display.data.get("image/png", "").startswith("iVBOR") for display in plot.displays)


def test_the_code_that_imports_names_what_was_asked_for_and_nothing_else():
    assert "['a', 'b.c']" in importing(" a, b.c,,")


async def test_a_warm_sandbox_that_died_is_replaced_and_nobody_notices(tmp_path):
    async with warmed(tmp_path) as manager:
        dead = ready(manager)[0]
        os.kill(dead.sandbox.gateway_pid(), signal.SIGKILL)
        await depth(manager, 0)
        await depth(manager, 1)
        assert ready(manager)[0] is not dead and dead.life.reason is not None
        assert (await Chat(manager).run("print(1)")).text() == "1\n"


async def test_an_ill_one_is_thrown_away_when_it_is_wanted(tmp_path):
    """Its gateway is stopped, so it looks alive until somebody asks."""
    async with warmed(tmp_path, warm=2) as manager:
        ill, well = ready(manager)
        os.kill(ill.sandbox.gateway_pid(), signal.SIGSTOP)
        chat = Chat(manager)
        ran = await chat.run("print(1)")
        assert ran.text() == "1\n" and chat.sandbox is well.sandbox
        assert ill.life.reason == "policy_probe_failed" and manager.counts.ends["policy_probe_failed"] == 1


async def test_warm_ones_make_room_and_are_not_made_where_there_is_none(tmp_path):
    async with warmed(tmp_path, max=2) as manager:
        chats = [Chat(manager), Chat(manager)]
        for chat in chats:
            assert (await chat.run("print(1)")).text() == "1\n"
        await asyncio.sleep(2)
        assert manager.counts.depth == 0 and manager._ledger.holding() == 2
        await manager.remove(chats[0].id)
        await depth(manager, 1)


async def test_a_warm_one_makes_way_for_a_conversation_of_another_profile(tmp_path):
    async with warmed(tmp_path, max=1) as manager:
        chat = Chat(manager)
        manager.slot(chat.id).profile = Profile.NET
        manager._supply.pool._size = 0
        ran = await chat.run("print(1)")
        assert ran.outcome is Outcome.OK and manager.counts.ends["evicted_capacity"] == 1


async def test_many_at_once_never_share_one(tmp_path):
    async with warmed(tmp_path, warm=2, max=5) as manager:
        chats = [Chat(manager) for _ in range(5)]
        ran = await asyncio.gather(*(chat.run(f"mine = '{chat.id}'") for chat in chats))
        assert all(one.fresh and one.outcome is Outcome.OK for one in ran)
        again = await asyncio.gather(*(chat.run("print(mine)") for chat in chats))
        assert [one.text().strip() for one in again] == [chat.id for chat in chats]
        assert len({chat.sandbox.id for chat in chats}) == 5
        assert manager.counts.claims["warm"].count == 2 and manager.counts.claims["cold"].count == 3


async def test_where_none_can_be_made_the_pool_backs_off(tmp_path):
    async with managing(tmp_path, warm=1, python=tmp_path / "no-such-python") as manager:
        manager.begin()
        await asyncio.sleep(4)
        assert 0 <= manager.counts.starts["failed"] <= 2 and manager.counts.depth == 0
        began = time.monotonic()
        assert (await Chat(manager).run("1")).outcome is Outcome.UNAVAILABLE and time.monotonic() - began < 5


async def test_the_end_leaves_no_warm_sandbox_and_no_directory(tmp_path, by):
    manager = make_manager(tmp_path, Settings(_env_file=None, warm=1, preimport="", **by))
    manager.begin()
    await depth(manager, 1)
    sandbox = ready(manager)[0].sandbox
    await manager.close()
    assert not sandbox.alive() and list((tmp_path / "workspaces" / ".warm").iterdir()) == []


async def test_an_end_while_one_is_being_made_leaves_nothing_either(tmp_path):
    manager = make_manager(tmp_path, Settings(_env_file=None, warm=1, preimport=""))
    manager.begin()
    async with asyncio.timeout(30):
        while not manager._ledger.holding():
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    await manager.close()
    assert manager._ledger.holding() == 0 and list((tmp_path / "workspaces" / ".warm").iterdir()) == []


async def test_prepare_takes_it_too(tmp_path):
    async with warmed(tmp_path) as manager:
        chat = Chat(manager)
        await manager.prepare(chat.id)
        async with asyncio.timeout(20):
            while (await manager.status(chat.id)).state is not KernelState.IDLE:
                await asyncio.sleep(0.01)
        assert manager.counts.claims["warm"].count == 1
