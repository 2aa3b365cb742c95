"""Reading a tenant's objects without running any of the tenant's code.

`obj.attr`, `len(obj)`, `repr(obj)`, even `obj.__class__` may run anything. What is here goes past all of it: the type comes
from `type(obj)`, attributes from the dictionaries of the types and of the object themselves, and the only descriptors that
are called are those that C code defined for that very type, which no Python code can make.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

MISSING: Any = object()
STATIC_TYPE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE: types written in C; a class statement never makes one
_MRO, _FLAGS, _NAMES, _NAME, _MODULE = (
    type.__dict__[name] for name in ("__mro__", "__flags__", "__dict__", "__name__", "__module__")
)


def is_static(kind: type) -> bool:
    """Whether a type is written in C, for good."""
    return bool(_FLAGS.__get__(kind) & STATIC_TYPE)


def is_a(value: object, kind: type) -> bool:
    """isinstance() without asking the object, nor its type's type, which could lie."""
    return any(base is kind for base in mro(type(value)))


def text(value: Any, limit: int) -> str:
    """The beginning of a string, whatever subclass of `str` it may be; empty for anything else."""
    return str.__getitem__(value, slice(limit)) if is_a(value, str) else ""


def name_of(kind: type) -> str:
    """What a class is called, whatever its metaclass says."""
    return text(_NAME.__get__(kind), 100)


def module_of(kind: type) -> str:
    """The top-level package that a class says it comes from."""
    try:
        value = _MODULE.__get__(kind)
    except AttributeError:
        return ""
    return value.partition(".")[0] if type(value) is str else ""


def mro(kind: type) -> tuple[type, ...]:
    found: tuple[type, ...] = _MRO.__get__(kind)
    return found


def members(kind: type) -> Iterator[tuple[str, object]]:
    """Names and raw values of a class and its bases, the nearest first."""
    for base in mro(kind):
        for name, value in _NAMES.__get__(base).items():
            if type(name) is str:
                yield name, value


def member(kind: type, name: str) -> Any:
    """What a class or one of its bases has under `name`, as it lies there; MISSING when nothing."""
    for base in mro(kind):
        value = _NAMES.__get__(base).get(name, MISSING)
        if value is not MISSING:
            return value
    return MISSING


def own(obj: object) -> dict[Any, Any]:
    """An object's own dictionary; empty when it has none, or a class pretends one."""
    if is_a(obj, type):
        return dict(_NAMES.__get__(obj).items())
    value = _get(member(type(obj), "__dict__"), obj)
    return value if type(value) is dict else {}


def attribute(obj: object, name: str) -> Any:
    """What lies under `name` in the object itself, or what a C type computes for it; MISSING when neither."""
    value = own(obj).get(name, MISSING)
    if value is not MISSING:
        return value
    for base in mro(type(obj)):
        getter = _NAMES.__get__(base).get(name, MISSING)
        if getter is not MISSING:
            return _get(getter, obj)
    return MISSING


def _get(getter: Any, obj: object) -> Any:
    """Call a descriptor, if it is one of C code's; it refuses objects of a type that is not its own."""
    if type(getter) is not types.GetSetDescriptorType and type(getter) is not types.MemberDescriptorType:
        return MISSING
    try:
        return getter.__get__(obj)
    except Exception:  # an attribute that is not set, whatever a library makes of that
        return MISSING


def path(obj: object, *names: str) -> Any:
    """`attribute` of `attribute` of …; MISSING as soon as one is."""
    for name in names:
        obj = attribute(obj, name)
        if obj is MISSING:
            return MISSING
    return obj
