"""Completion and inspection: names are looked up and never evaluated, beside a cell too, and the newest request counts."""

from __future__ import annotations

import asyncio
import time

import pytest

from executor import services as timing
from executor.services import Services
from executor.wire_services import MAX_CODE, Answer
from tests.support.kernels import Chat, managing

pytestmark = pytest.mark.sandbox

BOX_S = timing.EDITOR_S + 3.0
PATIENT_S = 20.0  # where an answer must come: a busy machine is no failure


class Editor(Chat):
    async def complete(self, code: str, cursor: int | None = None):
        async with asyncio.timeout(PATIENT_S + 3):
            return await self.services.complete(self.id, code, len(code) if cursor is None else cursor)

    async def matches(self, code: str) -> list[str]:
        """Each as it would stand in the code."""
        answer = await self.complete(code)
        assert answer.state is Answer.OK
        return [code[: answer.start] + match + code[answer.end :] for match in answer.matches]

    async def inspect(self, code: str, cursor: int | None = None, detail: int = 0):
        async with asyncio.timeout(PATIENT_S + 3):
            return await self.services.inspect(self.id, code, len(code) if cursor is None else cursor, detail)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    monkeypatch.setattr(timing, "EDITOR_S", PATIENT_S)


def editing(manager) -> Editor:
    made = Editor(manager)
    made.services = Services(manager)
    return made


@pytest.fixture
async def chat(tmp_path):
    async with managing(tmp_path) as manager:
        yield editing(manager)


@pytest.fixture
async def anywhere(manager):
    """On each backend."""
    return editing(manager)


CODE = '''
import os, numpy as np, pandas as pd
import collections.abc
alphabet, _hidden = "abc", 1
table = pd.DataFrame({"alpha": [1], "beta two": [2], "gamma": ["x"]})
lookup = {"first key": 1, "second": 2}
class Shape:
    """A shape.

    With corners."""
    def __init__(self, corners, *, name="none"):
        self.corners = corners
        self._secret = 1
    def area(self, scale=2.5):
        """How large it is."""
        return scale
    @classmethod
    def unit(cls): return cls(1)
    @property
    def center(self): raise RuntimeError("must not run")
shape = Shape(3)
'''


COMPLETIONS = [
    ("x = alph", ["x = alphabet"]),
    ("shape.a", ["shape.area"]),
    ("shape.", ["shape.area", "shape.center", "shape.corners", "shape.unit"]),
    ("shape._s", ["shape._secret"]),
    ("Shape.un", ["Shape.unit"]),
    ("print(shape.cor", ["print(shape.corners"]),
    ("table.alp", ["table.alpha"]),
    ("table['be", ["table['beta two"]),
    ('lookup["f', ['lookup["first key']),
    ("table.alpha.value_c", ["table.alpha.value_counts"]),
    ("np.lina", ["np.linalg"]),
    ("os.path.joi", ["os.path.join"]),
    ("import nump", ["import numpy"]),
    ("from collections import OrderedD", ["from collections import OrderedDict"]),
    ("from collections.ab", ["from collections.abc"]),
    ("whi", ["while"]),
    ("%timei", ["%timeit"]),
    ("%%writef", ["%%writefile"]),
    ("first_line = 1\nfirst_l", ["first_line = 1\nfirst_line"]),
    ("shape.center.", []),
    ("shape.area().", []),
    ("nothing.at.all", []),
    ("_hid", ["_hidden"]),
]


async def test_names_attributes_keys_modules_and_magics_are_completed(anywhere):
    assert (await anywhere.run(CODE)).outcome == "ok"
    for code, expected in COMPLETIONS:
        assert await anywhere.matches(code) == expected, code


async def test_completion_in_the_middle_of_the_code_keeps_its_place(chat):
    await chat.run("alphabet = 1")
    code = "# " + "é" * 20_000 + "\ny = alph + 1\n" + "z" * 5000
    answer = await chat.complete(code, code.index("alph ") + 4)
    assert answer.matches == ("alphabet",) and code[answer.start : answer.end] == "alph"


async def test_inspection_tells_type_signature_documentation_and_source(chat):
    await chat.run(CODE)
    found = await chat.inspect("shape.area(1)", 8, detail=1)
    assert (found.type, found.signature, found.doc) == ("function", "(self, scale=2.5)", "How large it is.")
    assert found.source.startswith("    def area(self, scale=2.5):") and found.source.endswith("return scale\n")
    found = await chat.inspect("Shape(3, ")
    assert found.signature == "(self, corners, *, name='none')" and found.doc == "A shape.\n\nWith corners."
    assert (await chat.inspect("len")).signature == "(obj, /)"
    assert (await chat.inspect("np.mean(")).signature.startswith("(a, axis=None")
    assert (await chat.inspect("lookup")).value == "{'first key': 1, 'second': 2}"
    assert (await chat.inspect("shape.center")).type == "property"
    assert "Series" in (await chat.inspect("table.alpha")).type
    for unknown in ("", "nobody", "shape.nothing", "1 + ", "((("):
        answer = await chat.inspect(unknown)
        assert answer.state is Answer.OK and not answer.found and answer.doc == ""


HOSTILE = """
import time
HITS = []
def hit(*a, **k):
    HITS.append(1)
    time.sleep(3600)
class Meta(type):
    __name__ = __doc__ = property(hit)
    __getattribute__ = __dir__ = __eq__ = __hash__ = hit
Evil = Meta("Evil", (), {})
class Thing:
    __class__ = __dict__ = __doc__ = __signature__ = __wrapped__ = __name__ = property(hit)
    __dir__ = __getattr__ = __getattribute__ = __repr__ = __len__ = __getitem__ = __eq__ = hit
class Keys(dict):
    keys = items = __iter__ = __getitem__ = hit
class Default:
    __repr__ = hit
def function(a=Default(), *b: Default(), c=Default(), **d) -> Default(): pass
function.__wrapped__ = function
def documented(): pass
documented.__doc__ = Thing()
long = lambda: 0
long.__doc__ = "x" * 10**7
import types
module = types.ModuleType("module", Thing())
module.__getattr__ = module.__dir__ = hit
evil, thing, keys = Evil, Thing(), Keys(a=1)
"""


async def test_hostile_objects_are_never_asked(chat):
    assert (await chat.run(HOSTILE)).outcome == "ok"
    for name in ("evil", "Evil", "thing", "Thing", "keys", "module", "function", "documented", "long"):
        for code in (f"{name}.", f"{name}.a", f"{name}.x.y.z", f"{name}['", f"{name}("):
            assert (await chat.complete(code)).state is Answer.OK, code
            assert (await chat.inspect(code, detail=1)).state is Answer.OK, code
        answer = await chat.inspect(name, detail=1)
        assert answer.state is Answer.OK and answer.found and len(answer.doc) <= 8000, name
    assert (await chat.inspect("function")).signature == "(a=<Default>, *b, c=<Default>, **d)"
    assert (await chat.run("print(len(HITS))")).text() == "0\n"


async def test_very_much_code_is_answered_from_around_the_cursor(chat):
    await chat.run("alphabet = 1")
    many = [
        "x" * MAX_CODE,
        "(" * MAX_CODE,
        "a." * (MAX_CODE // 2),
        "import " + "a, " * (MAX_CODE // 3 - 3),
        "from a import " + " " * (MAX_CODE - 14),
        "'" * MAX_CODE,
        "\n" * MAX_CODE,
        "\ud800" * 1000,
        "d['" * (MAX_CODE // 3),
    ]
    for code in many:
        began = time.monotonic()
        assert (await chat.complete(code)).state is Answer.OK, code[:20]
        assert (await chat.inspect(code)).state is Answer.OK, code[:20]
        assert time.monotonic() - began < PATIENT_S
    assert await chat.matches("#\n" * (MAX_CODE // 2 - 10) + "alph") == ["#\n" * (MAX_CODE // 2 - 10) + "alphabet"]
    assert (await chat.complete("alph", 10**6)).matches == ("alphabet",)


async def test_nothing_is_imported_or_run_to_complete(chat):
    await chat.run("open('trap.py', 'w').write('open(\"sprung\", \"w\")')\nopen('conftest_trap.py', 'w').write('1/0')")
    assert "import trap" in await chat.matches("import tra")
    for code in ("import trap.", "from trap import ", "trap.", "__import__('trap').", "from trap.x import y"):
        assert (await chat.complete(code)).matches == () or code == "trap."
        await chat.inspect(code)
    assert not (chat.workspace / "sprung").exists()
    assert (await chat.run("import sys; print('trap' in sys.modules, 'jedi' in sys.modules)")).text().startswith("False")


async def test_while_a_cell_runs_names_are_completed_beside_it(anywhere):
    await anywhere.run("alphabet = 1")
    running = asyncio.create_task(anywhere.run("while True: pass", 60))
    await asyncio.sleep(1)
    assert await anywhere.matches("alph") == ["alphabet"] and (await anywhere.inspect("alphabet")).value == "1"
    await anywhere.manager.interrupt(anywhere.id)
    assert (await running).closed.variables_kept


async def test_while_a_cell_keeps_the_interpreter_the_answer_is_busy(chat, monkeypatch):
    monkeypatch.setattr(timing, "EDITOR_S", BOX_S - 3)
    await chat.run("alphabet = 1")
    running = asyncio.create_task(chat.run("n = sum(range(3 * 10**8))", 60))
    await asyncio.sleep(0.7)
    began = time.monotonic()
    completed, inspected = await asyncio.gather(chat.complete("alph"), chat.inspect("alphabet"))
    assert completed.state is Answer.BUSY and inspected.state is Answer.BUSY and time.monotonic() - began < BOX_S
    await running
    assert await chat.matches("alph") == ["alphabet"]


async def test_the_newest_of_many_is_answered_and_the_others_end(chat):
    await chat.run("alphabet = 1")
    code = "alphabet"
    typed = [asyncio.create_task(chat.complete(code[: 1 + n % 4] if n < 49 else "alph")) for n in range(50)]
    answers = await asyncio.gather(*typed)
    assert answers[-1].state is Answer.OK and answers[-1].matches == ("alphabet",)
    assert {answer.state for answer in answers[:-1]} <= {Answer.OK, Answer.REPLACED}
    assert sum(answer.state is Answer.REPLACED for answer in answers) >= 40


TAKE_OVER = """
kernel = get_ipython().kernel
async def forged(*a, **k):
    return FORGED
kernel.do_complete = kernel.do_inspect = forged
"""
FORGERIES = [
    {},
    {"matches": 3, "cursor_start": 0, "cursor_end": 0, "found": True},
    {"matches": ["a"] * 301, "cursor_start": 0, "cursor_end": 0, "found": True, "parts": []},
    {"matches": [["a"]], "cursor_start": 0, "cursor_end": 0, "found": True, "parts": {}},
    {"matches": ["a" * 10**6], "cursor_start": 0, "cursor_end": 0, "found": True, "parts": {"type": "x" * 10**6}},
    {"matches": [], "cursor_start": -1, "cursor_end": 0, "found": True, "parts": {"type": None}},
    {"matches": [], "cursor_start": 3, "cursor_end": 2, "found": True, "parts": {"type": "t", "signature": 1}},
    {"matches": [], "cursor_start": 0, "cursor_end": 10**9, "found": True, "parts": 7},
    {"matches": [], "cursor_start": 0.0, "cursor_end": "1", "found": True, "parts": None},
]


async def test_forged_answers_are_refused(chat):
    await chat.run("FORGED = {}\n" + TAKE_OVER)
    for forged in FORGERIES:
        await chat.run(f"FORGED = {forged!r}")
        assert (await chat.complete("alph")).state is Answer.GARBLED, forged
        assert (await chat.inspect("alph")).state is (Answer.GARBLED if forged else Answer.OK), forged
    parts = {"type": "t\x1b[1m", "signature": "\u202e", "value": "", "doc": "a\nb\x00", "source": ""}
    await chat.run(
        f"FORGED = {{'matches': ['\\x1b'], 'cursor_start': 0, 'cursor_end': 1, 'found': True, 'parts': {parts!r}}}"
    )
    assert (await chat.complete("alph")).matches == ("\ufffd",)
    found = await chat.inspect("alph")
    assert (found.type, found.signature, found.doc) == ("t\ufffd[1m", "\ufffd", "a\nb\ufffd")
    assert (await chat.run("print('alive')")).text() == "alive\n"


async def test_without_a_sandbox_it_says_so(chat):
    assert (await chat.complete("a")).state is Answer.NONE and (await chat.inspect("a")).state is Answer.NONE
    assert not chat.manager._slots
