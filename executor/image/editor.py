"""Completion and inspection, for an editor in which somebody writes code while the kernel may be running a cell.

In place of IPython's own, which ask objects for their attributes and their `repr`, import modules to see what is in them,
or analyse code with jedi for as long as that takes: all of it runs the tenant's code, in the way of a cell. Here nothing
runs (`names`), so an answer takes a few milliseconds and can be given beside a cell.
"""

from __future__ import annotations

import inspect
import linecache
import re
import tokenize
import types
from collections.abc import Callable, Iterable
from typing import Any

from names import Instance, attributes, documentation, find, function_of, globals_and_builtins, keys, module, modules
from previews import preview, show
from static import MISSING, attribute, is_a, name_of, text
from variables import Namespace, printable

MATCHES = 300
NAME = 100  # characters of a name that is offered
BEFORE, AFTER = 4000, 200  # characters of code around the cursor that are looked at
LINE = 500  # characters of the cursor's line that are
CALLS = 4  # around one another that are
DOC, SOURCE = 8000, 16_000  # characters
SOURCE_LINES = 400
SHORTEST = 3  # characters of a word of the code that is offered as a name

WORD = re.compile(r"\w{1,100}")
AT_END = re.compile(r"((?:[^\W\d]\w{0,99}\.){0,15})(\w{0,100})$")
KEY_AT_END = re.compile(r"((?:[^\W\d]\w{0,99}\.){0,15}[^\W\d]\w{0,99})\[(['\"])([^'\"\\\n]{0,100})$")
IMPORT = re.compile(r"\s*(?:import\s+(?:[\w.\s,]*,\s*)?|from\s+)(\w{0,100})$")
IMPORT_FROM = re.compile(r"\s*from\s+([\w.]{1,200})\s+import\s+(?:[\w\s,()]*[\s,(])?(\w{0,100})$")
SUBMODULE = re.compile(r"\s*(?:import|from)\s+([\w.]{1,200})\.(\w{0,100})$")
BOUND = re.compile(r"^\(\$\w+(?:, )?(?:/(?:, )?)?")
MAGIC = re.compile(r"\s*(%%?)(\w{0,100})$")

Reply = dict[str, Any]


# ---- completion ------------------------------------------------------------------------------------------------------


def complete(code: str, cursor: int, namespace: Namespace, magics: Callable[[str], Iterable[str]]) -> Reply:
    """`complete_reply`'s content: what could stand in place of code[cursor_start:cursor_end]. `magics` names those that go
    with % or %%."""
    before = code[max(0, cursor - BEFORE) : cursor]
    candidates, begun = _candidates(before, namespace, magics)
    names = {name[:NAME] for name in candidates if name.startswith(begun) and (begun or not name.startswith("_"))}
    matches = sorted(filter(str.isprintable, names), key=lambda name: (name.startswith("_"), name))[:MATCHES]
    return {"status": "ok", "matches": matches, "cursor_start": cursor - len(begun), "cursor_end": cursor, "metadata": {}}


def _candidates(before: str, namespace: Namespace, magics: Callable[[str], Iterable[str]]) -> tuple[Iterable[str], str]:
    """Names that fit the place, and what is written of one already."""
    line = before[before.rfind("\n") + 1 :][-LINE:]
    if found := MAGIC.fullmatch(line):
        return magics(found[1]), found[2]
    if found := IMPORT_FROM.fullmatch(line):
        return _of(module(found[1])), found[2]
    if found := IMPORT.fullmatch(line):
        return modules(), found[1]
    if found := SUBMODULE.fullmatch(line):
        return _of(module(found[1])), found[2]
    if found := KEY_AT_END.search(line):
        return keys(find(found[1], namespace)), found[3]
    found = AT_END.search(line)
    if found is None:
        return (), ""
    owner, begun = found[1].rstrip("."), found[2]
    ahead = line[: found.start()].rstrip()
    if owner:
        return _of(find(owner, namespace)) if not ahead.endswith((".", ")", "]")) else (), begun
    if ahead.endswith("."):
        return (), begun
    return [*globals_and_builtins(namespace), *_words(before[: len(before) - len(begun)])], begun


def _of(obj: Any) -> Iterable[str]:
    return attributes(obj) if obj is not MISSING else ()


def _words(code: str) -> list[str]:
    """Names that occur in the code itself: they may be none yet."""
    return [word for word in WORD.findall(code) if len(word) >= SHORTEST and word.isidentifier()]


# ---- inspection ------------------------------------------------------------------------------------------------------


def examine(code: str, cursor: int, detail: int, namespace: Namespace) -> Reply:
    """What is known of the name at the cursor, or of the function whose call it stands in: `inspect_reply`'s content, with
    its parts beside the text."""
    obj: Any = MISSING
    for path in _paths(code[max(0, cursor - BEFORE) : cursor], code[cursor : cursor + AFTER]):
        obj = find(path, namespace)
        if obj is not MISSING:
            break
    if obj is MISSING:
        return {"status": "ok", "found": False, "data": {}, "metadata": {}}
    parts = {
        "type": name_of(obj.kind if type(obj) is Instance else type(obj)),
        "signature": signature(obj),
        "doc": _cut(inspect.cleandoc(documentation(obj)[:DOC]), DOC),
        "value": "" if type(obj) is Instance else printable(preview(obj)),
        "source": source(obj) if detail else "",
    }
    plain = "\n".join(part for part in (parts["type"], parts["signature"], parts["value"], parts["doc"]) if part)
    return {"status": "ok", "found": True, "data": {"text/plain": plain}, "metadata": {}, "parts": parts}


def _paths(before: str, after: str) -> Iterable[str]:
    """The dotted name around the cursor, then those of the calls around it, from within."""
    head, tail = AT_END.search(before[-LINE:]), WORD.match(after)
    path = (head[0] if head else "") + (tail[0] if tail else "")
    if path:
        yield path
    depth, calls = 0, 0
    for place in range(len(before) - 1, -1, -1):
        if before[place] == ")":
            depth += 1
        elif before[place] == "(":
            depth -= 1
            if depth < 0 and calls < CALLS:
                depth, calls = 0, calls + 1
                called = AT_END.search(before[max(0, place - LINE) : place])
                if called and called[0]:
                    yield called[0]


def signature(obj: Any) -> str:
    """The parameters, as the code declares them; defaults as far as they can be shown."""
    function = function_of(obj)
    if function is None:
        return _written(attribute(obj, "__text_signature__")) if type(obj) is not Instance else ""
    code, defaults = function.__code__, list(function.__defaults__ or ())
    names, named = code.co_varnames, code.co_argcount
    first_default = named - len(defaults)
    told = []
    for place, name in enumerate(names[:named]):
        told.append(name if place < first_default else f"{name}={show(defaults[place - first_default], 1)}")
        if place + 1 == code.co_posonlyargcount:
            told.append("/")
    rest = list(names[named : named + code.co_kwonlyargcount])
    starred = list(names[named + code.co_kwonlyargcount :][:2])
    if code.co_flags & inspect.CO_VARARGS:
        told.append(f"*{starred.pop(0)}")
    elif rest:
        told.append("*")
    chosen = function.__kwdefaults__ or {}
    told += [f"{name}={show(chosen[name], 1)}" if name in chosen else name for name in rest]
    if code.co_flags & inspect.CO_VARKEYWORDS:
        told.append(f"**{starred.pop(0)}")
    return _cut(f"({', '.join(told)})", 1000)


def _written(value: Any) -> str:
    """As C code writes them down, without the one that is bound."""
    return BOUND.sub("(", text(value, 1000)) if type(value) is str else ""


def source(obj: Any) -> str:
    """The lines of a Python function, where they are at hand."""
    function = function_of(obj) if not is_a(obj, type) else None
    if function is None:
        return ""
    lines = _lines(function.__code__)
    try:
        return _cut("".join(inspect.getblock(lines)), SOURCE)
    except (SyntaxError, tokenize.TokenError, IndentationError):
        return ""


def _lines(code: types.CodeType) -> list[str]:
    """From where the function begins. A loader, which could be anybody's, is not asked for them."""
    known = linecache.cache.get(code.co_filename)
    lines = known[2] if type(known) is tuple and len(known) == 4 else linecache.updatecache(code.co_filename)
    return list(lines[code.co_firstlineno - 1 :][:SOURCE_LINES])


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
