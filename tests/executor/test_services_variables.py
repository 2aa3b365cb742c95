"""The variables of a conversation: what is told of them, and that asking runs no code and hangs nobody."""

from __future__ import annotations

import asyncio
import time

import pytest

from executor import services as timing
from executor.services import Services
from executor.wire_services import Answer, Variable
from tests.support.kernels import Chat, managing

pytestmark = pytest.mark.sandbox

BOX_S = timing.VARIABLES_S + 3.0
PATIENT_S = 20.0  # where an answer must come: a busy machine is no failure


class Asking(Chat):
    """A conversation whose variables are asked for."""

    async def variables(self) -> dict[str, Variable]:
        answer = await self.answer()
        assert answer.state is Answer.OK
        return {one.name: one for one in answer.variables}

    async def answer(self, within_s: float = PATIENT_S + 3):
        async with asyncio.timeout(within_s):
            return await self.services.variables(self.id)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(timing, "VARIABLES_S", PATIENT_S)


@pytest.fixture
def hurried(patient, monkeypatch):
    """The deadline as it is, where none or another answer may come."""
    monkeypatch.setattr(timing, "VARIABLES_S", BOX_S - 3.0)


def asking(manager) -> Asking:
    made = Asking(manager)
    made.services = Services(manager)
    return made


@pytest.fixture
async def chat(tmp_path):
    async with managing(tmp_path) as manager:
        yield asking(manager)


@pytest.fixture
async def anywhere(manager):
    """On each backend."""
    return asking(manager)


async def test_built_in_values_are_told_with_type_length_size_and_a_glance(chat):
    await chat.run(
        "import datetime, collections\n"
        "n, x, yes, none, big = 3, 1.5, True, None, 2**100_000\n"
        "text, data = 'a\\nb' + 'c' * 10**6, b'\\x00ab'\n"
        "items, one, some, pairs = [1, 'x', [2, [3]]], (1,), {5}, {'k': 1, (1, 2): [None]}\n"
        "queue, steps = collections.deque([1]), range(3)\n"
        "day, moment = datetime.date(2026, 1, 2), datetime.datetime(2026, 1, 2, 3, tzinfo=datetime.timezone.utc)\n"
    )
    told = await chat.variables()
    shown = {name: (one.type, one.shape, one.preview) for name, one in told.items()}
    assert shown["n"] == ("int", None, "3") and shown["x"] == ("float", None, "1.5")
    assert shown["yes"] == ("bool", None, "True") and shown["none"] == ("NoneType", None, "None")
    assert shown["big"] == ("int", None, "<int of 100001 bits>")
    assert shown["text"][:2] == ("str", (1_000_003,)) and shown["text"][2].startswith("'a\\nbccc")
    assert shown["data"] == ("bytes", (3,), "b'\\x00ab'")
    assert shown["items"] == ("list", (3,), "[1, 'x', [2, […]]]") and shown["one"] == ("tuple", (1,), "(1,)")
    assert shown["some"] == ("set", (1,), "{5}") and shown["pairs"] == ("dict", (2,), "{'k': 1, (1, 2): [None]}")
    assert shown["queue"] == ("deque", (1,), "deque([1])") and shown["steps"] == ("range", (3,), "range(0, 3)")
    assert shown["day"][2] == "2026-01-02" and shown["moment"][2] == "2026-01-02 03:00:00+00:00"
    assert told["text"].size > 10**6 and told["big"].size > 10**4 and told["n"].size < 100
    assert (shown["datetime"], told["datetime"].size) == (("module", None, ""), None)


async def test_arrays_tables_pictures_and_figures_are_told(anywhere):
    await anywhere.run(
        "import numpy as np, pandas as pd, matplotlib.pyplot as plt\n"
        "from PIL import Image\n"
        "array, number = np.arange(12).reshape(3, 4) / 2, np.float32(1.5)\n"
        "table = pd.DataFrame({'a': [1, 2], 'b': ['x', None], 'when': pd.to_datetime(['2026-01-01', '2026-01-02'])})\n"
        "table['group'] = pd.Categorical(['u', 'v'])\n"
        "column, indexed, empty = table['a'], table.set_index(['a', 'b']), pd.DataFrame()\n"
        "wide = pd.DataFrame(np.zeros((2, 10**6)))\n"
        "picture = Image.new('RGB', (640, 480))\n"
        "figure, axes = plt.subplots(1, 2, figsize=(8, 4))\n"
        "plt.close(figure)"
    )
    told = await anywhere.variables()
    shown = {name: (one.type, one.shape, one.preview) for name, one in told.items()}
    assert shown["array"] == ("ndarray", (3, 4), "float64 [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, …]")
    assert shown["number"] == ("float32", None, "1.5") and told["array"].size == 96
    kind, shape, line = shown["table"]
    assert (kind, shape) == ("DataFrame", (2, 4)) and "'a': int64 [1, 2]; 'b': str ['x', " in line
    assert "'when': datetime64 [2026-01-01" in line and "'group': category" in line
    assert shown["column"] == ("Series", (2,), "int64 [1, 2]") and shown["indexed"][1] == (2, 2)
    assert shown["empty"][:2] == ("DataFrame", (0, 0))
    assert shown["wide"][1] == (2, 10**6) and told["wide"].size == 16 * 10**6
    assert shown["picture"] == ("Image", (480, 640), "RGB 640×480") and told["picture"].size == 640 * 480 * 3
    assert shown["figure"] == ("Figure", None, "8×4 inches, axes: 2")


async def test_asking_leaves_no_trace_in_the_conversation(chat):
    look = "print(_, list(Out), len(In), len(globals()))\n%who"
    first = (await chat.run("x = 1\nx + 1")).closed.execution_count
    before = (await chat.run(look)).text().split("\n")
    for _ in range(3):
        assert set(await chat.variables()) == {"x"}
    ran = await chat.run(look)
    counts = [[int(word) for word in line.rpartition("]")[2].split()] for line in (before[0], ran.text().split("\n")[0])]
    assert counts[1] == [counts[0][0] + 1, counts[0][1] + 1] and before[0].startswith("2 [1] ")  # the cell's own In, _i3
    assert ran.text().split("\n")[1:] == before[1:] and before[1].split() == ["x"]
    assert ran.closed.execution_count == first + 2 and (await chat.run("_")).displays[0].data["text/plain"] == "2"


HOSTILE = """
import os, time
HITS = []
def hit(*a, **k):
    HITS.append(1)
    open("hit", "w").close()
    time.sleep(3600)
class Meta(type):
    __name__ = property(hit)
    def __eq__(self, other): hit()
    def __hash__(self): hit()
    def __getattribute__(self, name): hit()
    def __instancecheck__(self, other): hit()
    __dir__ = __repr__ = __str__ = hit
Evil = Meta("Evil", (), {})
class Thing:
    __class__ = property(hit)
    __dict__ = property(hit)
    shape = size = dtype = columns = property(hit)
    __repr__ = __str__ = __len__ = __iter__ = __sizeof__ = __getattr__ = __getattribute__ = __dir__ = hit
    __eq__ = __bool__ = __array__ = __format__ = hit
    __hash__ = None
class Sub(dict):
    __iter__ = items = keys = values = __len__ = __repr__ = __sizeof__ = hit
class Text(str):
    __repr__ = __str__ = __len__ = __getitem__ = __hash__ = __eq__ = isprintable = hit
class Rows(list):
    __iter__ = __len__ = __repr__ = __getitem__ = hit
class DataFrame:
    __module__ = "pandas"
    @property
    def _mgr(self): hit()
    def __getattr__(self, name): hit()
class ndarray:
    __module__ = "numpy"
    shape = dtype = nbytes = flat = property(hit)
evil, thing, sub, text, rows, frame, array = Evil, Thing(), Sub(a=1), Text("x"), Rows([1]), DataFrame(), ndarray()
evils = type.__call__(Evil) if False else None
inside = [Thing(), Sub(), Text("y"), {"k": Thing()}, (Rows(),), DataFrame()]
class Named: __slots__ = ("here",)
named = Named()
"""


async def test_hostile_objects_are_told_by_their_type_alone_and_none_of_their_code_runs(anywhere):
    ran = await anywhere.run(HOSTILE)
    assert ran.outcome == "ok", ran.events
    told = await anywhere.variables()
    assert [told[name].type for name in ("evil", "thing", "sub", "text", "rows", "frame", "array", "named")] == [
        *("Meta", "Thing", "Sub", "Text", "Rows", "DataFrame", "ndarray", "Named")
    ]
    assert all(told[name].preview == "" for name in ("evil", "thing", "sub", "text", "rows", "frame", "array", "named"))
    assert told["inside"].preview == "[<Thing>, <Sub>, <Text>, {'k': <Thing>}, (<Rows>,), <DataFrame>]"
    assert (await anywhere.run("import builtins; print(builtins.len(HITS), os.path.exists('hit'))")).text() == "0 False\n"


async def test_a_repr_that_would_allocate_or_delete_is_never_called(chat):
    await chat.run(
        "open('precious', 'w').write('x')\n"
        "class Bomb:\n"
        "    def __repr__(self): return 'x' * 10**10\n"
        "class Shredder:\n"
        "    def __repr__(self):\n"
        "        import os; os.remove('precious'); return ''\n"
        "bomb, shredder, both = Bomb(), Shredder(), [Bomb(), Shredder()]"
    )
    told = await chat.variables()
    assert told["both"].preview == "[<Bomb>, <Shredder>]" and told["bomb"].size is None
    assert (chat.workspace / "precious").exists()


async def test_patched_libraries_are_not_called_either(chat):
    await chat.run(
        "import pandas as pd, numpy as np, time\n"
        "table, column = pd.DataFrame({'a': [1]}), pd.Series([1])\n"
        "def hit(*a, **k):\n    open('hit', 'w').close(); time.sleep(3600)\n"
        "for kind in (pd.DataFrame, pd.Series, pd.Index, type(table._mgr)):\n"
        "    for name in ('shape', 'dtypes', 'columns', 'index', '__len__', '__repr__', '_data', '_mgr', 'axes'):\n"
        "        try: setattr(kind, name, property(hit))\n"
        "        except TypeError: pass"
    )
    told = await chat.variables()
    assert (told["table"].type, told["column"].type) == ("DataFrame", "Series") and not (chat.workspace / "hit").exists()


async def test_objects_that_look_like_a_librarys_but_are_broken_are_told_by_type(chat):
    await chat.run(
        "import pandas as pd, numpy as np\n"
        "from PIL import Image\n"
        "table, image = pd.DataFrame({'a': [1]}), Image.new('L', (1, 1))\n"
        "table.__dict__['_mgr'] = object()\n"
        "image.__dict__['_size'] = ('wide', -1)\n"
        "index = pd.DataFrame({'a': [1]}); index.__dict__['_mgr'].axes[0].__dict__['_data'] = [[]]\n"
        "huge = np.broadcast_to(np.zeros(1), (10**6, 10**6, 10**5))\n"
        "long = np.array(['x' * 10**6])\n"
        "odd = np.zeros(2, dtype=[('a', 'i4'), ('b', 'O')])\n"
        "mixed = np.empty(4, dtype=object); mixed[:3] = [1, object(), None]; mixed[3] = [table]"
    )
    told = await chat.variables()
    assert told["table"].shape is None and told["image"].preview == ""
    assert told["huge"].shape == (10**6, 10**6, 10**5) and told["long"].preview == "str […]"
    assert told["odd"].type == "ndarray" and told["mixed"].preview == "object [1, <object>, None, […]]"


async def test_very_many_and_very_large_variables_are_bounded(chat):
    await chat.run(
        "for n in range(100_000): globals()[f'v{n}'] = n\nlarge = 'x' * (5 * 10**8)\nnested = []\nnested.append(nested)"
    )
    began = time.monotonic()
    answer = await chat.answer()
    assert answer.state is Answer.OK and time.monotonic() - began < PATIENT_S
    assert len(answer.variables) + answer.left_out == 100_003 and 1 <= len(answer.variables) <= 500
    last = {one.name: one for one in answer.variables[-3:]}
    assert last["nested"].preview == "[[[…]]]" and len(last["large"].preview) < 200
    assert last["large"].shape == (5 * 10**8,)
    assert len(answer.model_dump_json()) < 10**6


async def test_a_table_of_very_many_pieces(chat):
    await chat.run(
        "import pandas as pd, numpy as np\nwide = pd.DataFrame({n: np.zeros(1) for n in range(20_000)}, copy=False)"
    )
    one = (await chat.variables())["wide"]
    assert one.shape == (1, 20_000) and one.preview.startswith("0: float64 [0.0]")


async def test_names_and_text_that_no_screen_should_see_are_made_visible(chat):
    await chat.run(
        "globals().update({'a\\x1b[31mb': 1, 'c\\nd': 2, 'e\\u202ef': 3, 'g\\ud800': 4, 'h' * 10_000: 5, '': 6, 7: 8})\n"
        "kind = type('T\\x07' + 't' * 10_000, (), {})()\n"
        "shout = '\\x1b[2J\\u202e\\u200b'"
    )
    answer = await chat.answer()
    assert answer.state is Answer.OK
    assert all(one.name.isprintable() and one.type.isprintable() and one.preview.isprintable() for one in answer.variables)
    assert all(len(one.name) <= 120 and len(one.type) <= 120 for one in answer.variables)
    assert {1, 2, 3, 4, 5, 6} <= {int(one.preview) for one in answer.variables if one.type == "int"}


FORGERIES = [
    {},
    {"variables": "no list", "left_out": 0},
    {"variables": [3], "left_out": 0},
    {"variables": [{}], "left_out": 0},
    {"variables": [{"name": 3, "type": "t", "shape": None, "size": None, "preview": ""}], "left_out": 0},
    {"variables": [{"name": "n", "type": None, "shape": None, "size": None, "preview": ""}], "left_out": 0},
    {"variables": [{"name": "n", "type": "t", "shape": "3", "size": None, "preview": ""}], "left_out": 0},
    {"variables": [{"name": "n", "type": "t", "shape": [-1], "size": None, "preview": ""}], "left_out": 0},
    {"variables": [{"name": "n", "type": "t", "shape": [1] * 1000, "size": None, "preview": ""}], "left_out": 0},
    {"variables": [{"name": "n", "type": "t", "shape": None, "size": 1.5, "preview": ""}], "left_out": 0},
    {"variables": [{"name": "n", "type": "t", "shape": None, "size": True, "preview": ""}], "left_out": 0},
    {"variables": [{"name": "n", "type": "t", "shape": None, "size": 10**30, "preview": ""}], "left_out": 0},
    {"variables": [{"name": "n" * 10**5, "type": "t", "shape": None, "size": 1, "preview": ""}], "left_out": 0},
    {"variables": [], "left_out": None},
    {"variables": [{"name": "n", "type": "t", "shape": None, "size": 1, "preview": "p"}] * 501, "left_out": 0},
]
TAKE_OVER = """
kernel = get_ipython().kernel
def forged(stream, ident, parent):
    KIND
kernel.control_handlers["variables_request"] = forged
"""


async def test_forged_answers_are_refused_as_a_whole(chat):
    await chat.run("FORGED = None\n" + TAKE_OVER.replace("KIND", SEND.format("FORGED")))
    for forged in FORGERIES:
        await chat.run(f"FORGED = {forged!r}")
        assert (await chat.answer()).state is Answer.GARBLED, forged
    true = {"variables": [{"name": "n", "type": "t", "shape": [1], "size": 1, "preview": "\x1b[31m"}], "left_out": 0}
    await chat.run(f"FORGED = {true!r}")
    answer = await chat.answer()
    assert answer.state is Answer.OK and answer.variables[0].preview == "\ufffd[31m"


SEND = "kernel.session.send(stream, 'variables_reply', {}, parent, ident)"


@pytest.mark.parametrize(
    "act, expected",
    [
        ("pass", Answer.BUSY),
        ("import time; time.sleep(3600)", Answer.BUSY),
        ("raise SystemExit", Answer.BUSY),
        (SEND.format("{'variables': ['x' * 50_000_000], 'left_out': 0}"), Answer.GARBLED),
        (SEND.format("{'variables': [[[]]] * 10**6, 'left_out': 0}"), Answer.GARBLED),
        ("kernel.session.send(stream, 'variables_reply', {'variables': [], 'left_out': 0})", Answer.BUSY),
        ("for n in range(10_000): " + SEND.format("{'variables': [], 'left_out': n}"), Answer.OK),
        ("import os; os._exit(1)", Answer.STARTING),
    ],
)
async def test_a_service_that_was_taken_over_harms_its_own_conversation_only(chat, hurried, act, expected):
    await chat.run("x = 1\n" + TAKE_OVER.replace("KIND", act))
    async with managing(chat.workspace.parent.parent / "other") as manager:
        other = asking(manager)
        await other.run("y = 2")
        answers = await asyncio.gather(chat.answer(), *(other.answer() for _ in range(20)))
    assert answers[0].state in (expected, Answer.BUSY)  # where the machine is slow, 50 MB come too late
    assert {answer.state for answer in answers[1:]} <= {Answer.OK, Answer.BUSY}
    assert all(answer.variables[0].name == "y" for answer in answers[1:] if answer.state is Answer.OK)
    assert (await chat.run("print('alive')")).text() == "alive\n"
    await chat.manager.restart(chat.id)
    assert await chat.variables() == {}


async def test_while_a_cell_computes_in_python_the_answer_comes_beside_it(chat):
    await chat.run("x = 1")
    running = asyncio.create_task(chat.run("y = 2\nwhile True: y += 1", 60))
    await asyncio.sleep(1)
    assert set(await chat.variables()) == {"x", "y"}
    await chat.manager.interrupt(chat.id)
    assert (await running).closed.variables_kept


async def test_while_a_cell_keeps_the_interpreter_the_answer_is_busy_and_nothing_piles_up(anywhere, hurried):
    await anywhere.run("x = 1")
    running = asyncio.create_task(anywhere.run("open('begun', 'w').close(); n = sum(range(4 * 10**8))", 60))
    while not (anywhere.workspace / "begun").exists():
        await asyncio.sleep(0.01)
    answers = await asyncio.gather(*(anywhere.answer(BOX_S) for _ in range(50)))
    assert {answer.state for answer in answers} == {Answer.BUSY}
    await running
    assert "n" in await anywhere.variables()


async def test_without_a_sandbox_and_while_there_is_none_yet_it_says_so_and_starts_none(chat):
    assert (await chat.answer(0.5)).state is Answer.NONE
    assert not chat.manager._slots
    starting = asyncio.create_task(chat.run("x = 1"))
    await asyncio.sleep(0.1)
    assert (await chat.answer(0.5)).state in (Answer.STARTING, Answer.OK)
    await starting
    await chat.manager.remove(chat.id)
    assert (await chat.answer(0.5)).state is Answer.NONE


async def test_while_the_kernel_restarts_or_dies_nobody_waits_in_vain(chat, hurried):
    await chat.run("x = 1")
    dying = asyncio.create_task(chat.run("import os, time; time.sleep(0.5); os._exit(1)"))
    states = []
    while not dying.done():
        states.append((await chat.answer()).state)
        await asyncio.sleep(0.05)
    assert set(states) <= {Answer.OK, Answer.STARTING, Answer.BUSY}
    assert (await chat.run("y = 1")).outcome == "ok" and set(await chat.variables()) == {"y"}
    restarting = asyncio.create_task(chat.manager.restart(chat.id))
    while not restarting.done():
        assert (await chat.answer()).state in (Answer.OK, Answer.STARTING, Answer.BUSY)
        await asyncio.sleep(0.05)
    assert await chat.variables() == {}


async def test_variables_that_change_while_they_are_told(chat, hurried):
    code = "import threading\ndef churn():\n    for n in range(10**9):\n        globals()[f'c{n % 5000}'] = [n]\n"
    code += "        globals().pop(f'c{(n + 77) % 5000}', None)\nthreading.Thread(target=churn, daemon=True).start()"
    await chat.run(code)
    for _ in range(20):
        assert (await chat.answer()).state in (Answer.OK, Answer.BUSY)
    assert (await chat.run("print(1)")).text() == "1\n"


async def test_with_the_memory_full_the_kernel_lives_and_answers_again(chat, hurried):
    ran = await chat.run("hoard = []\nwhile True: hoard.append(bytearray(2**20))")
    assert ran.outcome == "out_of_memory" and ran.closed.variables_kept
    assert (await chat.answer()).state in (Answer.OK, Answer.BUSY)
    assert (await chat.run("hoard.clear()\nx = 1")).outcome == "ok"
    assert set(await chat.variables()) == {"hoard", "x"}
