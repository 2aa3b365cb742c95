"""Which object a piece of code means, and which names could follow: for completion and inspection.

Looked up, not evaluated: a path like `df.columns` is followed through namespaces and dictionaries (`static`), and where a
step would need the tenant's code (a property, `__getattr__`, a call) it ends.
"""

from __future__ import annotations

import builtins
import keyword
import os
import re
import sys
import types
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

from static import MISSING, attribute, is_a, member, members, mro, name_of, own
from tables import labels
from variables import Namespace, items

PATH = re.compile(r"[^\W\d]\w{0,99}(?:\.[^\W\d]\w{0,99}){0,15}")
STEPS = 16
COLUMNS = 1000  # of a table that are names
LISTED = 5000  # entries of one directory that are looked at for modules


CALLABLE = (
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.WrapperDescriptorType,
)


class Instance(NamedTuple):
    """Some object of a class, of which nothing else is known."""

    kind: type


def find(path: str, namespace: Namespace) -> Any:
    """What `a.b.c` is, as it lies in its class: a classmethod is one, a function no method. MISSING when unknown."""
    if not PATH.fullmatch(path):
        return MISSING
    root, *steps = path.split(".")
    found = namespace.get(root, MISSING)
    if found is MISSING:
        found = vars(builtins).get(root, MISSING)
    for step in steps:
        found = _step(found, step)
    return found


def _step(obj: Any, name: str) -> Any:
    if obj is MISSING or _computes(obj):
        return MISSING
    if type(obj) is Instance:
        return _unwrapped(member(obj.kind, name))
    if is_a(obj, type):
        return _unwrapped(member(obj, name))
    found = attribute(obj, name)
    if found is MISSING and name in _columns(obj):
        return Instance(_series(obj))
    return found if found is not MISSING else _unwrapped(member(type(obj), name))


def _computes(obj: Any) -> bool:
    """Whether it is a property or the like, of whose value nothing is known."""
    kind = type(obj)
    return member(kind, "__get__") is not MISSING and not any(kind is known for known in CALLABLE)


def _unwrapped(value: Any) -> Any:
    if type(value) is staticmethod or type(value) is classmethod:
        return value.__func__
    return value


def _columns(obj: object) -> list[str]:
    named = labels(obj, COLUMNS) if name_of(type(obj)) == "DataFrame" else []
    return [name for name in named if type(name) is str]


def _series(table: object) -> type:
    """The class that a table's columns have, if pandas says so where it always has."""
    found = own(sys.modules.get("pandas")).get("Series")
    return found if type(found) is type else object


# ---- names that could follow -----------------------------------------------------------------------------------------


def attributes(obj: Any) -> Iterable[str]:
    """Everything that may come after `obj.`, some of it twice."""
    if type(obj) is Instance:
        return [name for name, _ in members(obj.kind)]
    if _computes(obj):
        return ()
    if is_a(obj, types.ModuleType):
        return strings(own(obj))
    if is_a(obj, type):
        return [name for name, _ in members(obj)]
    return [*strings(own(obj)), *(name for name, _ in members(type(obj))), *_columns(obj)]


def strings(mapping: dict[Any, Any]) -> list[str]:
    return [name for name, _ in items(mapping) if type(name) is str]


def keys(obj: Any) -> list[str]:
    """What may stand in `obj["…"]`."""
    return strings(obj) if type(obj) is dict else _columns(obj)


def module(name: str) -> Any:
    """One that is imported already; MISSING when it is not."""
    found = sys.modules.get(name, MISSING)
    return found if is_a(found, types.ModuleType) else MISSING


def globals_and_builtins(namespace: Namespace) -> Iterable[str]:
    return [*strings(namespace), *strings(vars(builtins)), *keyword.kwlist]


def modules() -> set[str]:
    """What could be imported, by the names of files alone: nothing is imported to find out."""
    found = set(sys.stdlib_module_names) | {name.partition(".")[0] for name in strings(sys.modules)}
    for directory in list(sys.path)[:STEPS]:
        with suppress(OSError, ValueError, TypeError), os.scandir(directory or ".") as entries:
            for _, entry in zip(range(LISTED), entries, strict=False):
                name, dot, ending = entry.name.partition(".")
                if name.isidentifier() and (not dot or ending == "py" or ending.endswith("so")):
                    found.add(name)
    return found


# ---- what an object says of itself -----------------------------------------------------------------------------------


def documentation(obj: Any) -> str:
    """Its docstring, if it is one; a class's for its instances."""
    for holder in (obj.kind,) if type(obj) is Instance else (obj, type(obj)):
        if is_a(holder, type):
            value = member(holder, "__doc__")
            value = attribute(holder, "__doc__") if type(value) is types.GetSetDescriptorType else value
        else:
            value = attribute(holder, "__doc__")
        if type(value) is str:
            return value
    return ""


def function_of(obj: Any) -> types.FunctionType | None:
    """The Python function behind a method, a class or a wrapper."""
    if type(obj) is types.MethodType:
        obj = obj.__func__
    if is_a(obj, type):
        made = [_unwrapped(member(base, name)) for base in mro(obj)[:1] for name in ("__init__", "__new__")]
        obj = next((function for function in made if type(function) is types.FunctionType), obj)
    for _ in range(STEPS):
        inner = own(obj).get("__wrapped__", MISSING) if not is_a(obj, type) else MISSING
        if inner is MISSING:
            break
        obj = inner
    return obj if type(obj) is types.FunctionType else None
