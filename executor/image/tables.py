"""Arrays, tables, pictures and figures: shape, size and a few cells, read from where the libraries keep them.

The libraries' own methods are not called: a cell may have replaced them. What is not found where it is expected (another
version, a subclass, an object made to look like one) is simply not told.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from previews import ITEMS, LINE, show
from static import MISSING, attribute, is_static, module_of, name_of, path

BLOCKS = 64  # of a table's blocks that are looked at
COLUMNS = 8  # of a table that are shown
CELL = 4096  # bytes of one cell that is shown
KINDS = {
    "b": "bool", "i": "int", "u": "uint", "f": "float", "c": "complex", "O": "object",
    "S": "bytes", "U": "str", "M": "datetime64", "m": "timedelta64", "V": "record",
}  # fmt: skip
BANDS = {"1": 1, "L": 1, "P": 1, "RGB": 3, "YCbCr": 3, "LAB": 3, "HSV": 3, "RGBA": 4, "CMYK": 4, "I": 4, "F": 4}


class Facts(NamedTuple):
    """What a library's value is. `shape` as numpy counts; `size` in bytes."""

    shape: list[int] | None = None
    size: int | None = None
    preview: str = ""


def facts(value: object) -> Facts | None:
    """None for a value of any other kind."""
    kind = type(value)
    found = READERS.get((module_of(kind), name_of(kind)))
    try:
        return found(value) if found else None
    except Exception:  # it was not what its name says, or another thread changes it this very moment
        return Facts()


# ---- numpy -----------------------------------------------------------------------------------------------------------


def is_array(value: object) -> bool:
    """An array of exactly numpy's type, whose every attribute is C code."""
    kind = type(value)
    return is_static(kind) and name_of(kind) == "ndarray" and module_of(kind) == "numpy"


def dtype(array: Any) -> str:
    kind, bytes_each = array.dtype.kind, array.dtype.itemsize
    return KINDS.get(kind, "?") + (str(8 * bytes_each) if kind in "iufc" else "")


def cells(array: Any, count: int = ITEMS) -> str:
    """The first values, in reading order."""
    told = array.dtype.kind != "V" and array.dtype.itemsize <= CELL
    shown = [show(item) for item in array.flat[:count].tolist()] if told else []
    return ", ".join(shown + (["…"] if array.size > len(shown) else []))


def _array(value: Any) -> Facts | None:
    if not is_array(value):
        return None
    return Facts([*value.shape], value.nbytes, f"{dtype(value)} [{cells(value)}]")


def _scalar(value: Any) -> Facts | None:
    if not is_static(type(value)):
        return None
    return Facts(None, value.nbytes, show(value.item()))


# ---- pandas ----------------------------------------------------------------------------------------------------------


class Column(NamedTuple):
    """What a column's values are, and the first of them where they can be shown."""

    kind: str
    shown: str = ""


def _column(values: Any, row: int) -> Column:
    if is_array(values):
        array = values[row] if values.ndim == 2 else values
        return Column(dtype(array), cells(array, 3))
    name, inner = name_of(type(values)), attribute(values, "_ndarray")
    if name == "Categorical":
        return Column("category")
    if is_array(inner):
        inner = inner[row] if inner.ndim == 2 else inner
        return Column("str" if name == "StringArray" else dtype(inner), cells(inner, 3))
    if is_chunked(chunks := attribute(values, "_pa_array")):
        some = firsts(chunks, 3)
        shown = [show(item) for item in some] + (["…"] if len(chunks) > len(some) else [])
        return Column("str" if name == "ArrowStringArray" else str(chunks.type)[:CELL], ", ".join(shown) if some else "")
    masked = attribute(values, "_data")  # what is missing in it is told by another array
    return Column(dtype(masked).capitalize() if is_array(masked) else name.removesuffix("Array"))


def is_chunked(value: object) -> bool:
    """An array of exactly pyarrow's type, of a kind that pyarrow knows itself (others bring code of their own)."""
    kind = type(value)
    ours = is_static(kind) and name_of(kind) == "ChunkedArray" and module_of(kind) == "pyarrow"
    return ours and is_static(type(value.type))  # type: ignore[attr-defined]


def firsts(chunks: Any, count: int) -> list[Any]:
    """The first values, unless they are large."""
    some = chunks.slice(0, count)
    return list(some.to_pylist()) if some.nbytes <= CELL * count else []


def _bytes(values: Any) -> int | None:
    known = [found for name in ("_ndarray", "_data", "_mask") if is_array(found := attribute(values, name))]
    if is_array(values):
        known = [values]
    if is_chunked(chunks := attribute(values, "_pa_array")):
        known = [chunks]
    return sum(array.nbytes for array in known) if known else None


def _values(index: Any) -> Any:
    """Where an Index keeps its labels, if that has a length; else None."""
    data, numbers = attribute(index, "_data"), attribute(index, "_range")
    for found in (data, attribute(data, "_ndarray"), attribute(data, "_pa_array"), numbers):
        if is_array(found) or is_chunked(found) or type(found) is range:
            return found
    return None


def _length(index: Any) -> int | None:
    """Of an Index of any kind."""
    values = _values(index)
    if values is not None:
        return len(values)
    codes = attribute(index, "_codes")  # of a MultiIndex: a list (of pandas' own) of arrays
    return len(list.__getitem__(codes, 0)) if codes is not MISSING else None


def labels(table: object, count: int) -> list[object]:
    """The names of a table's first columns."""
    axes = path(table, "_mgr", "axes")
    values: Any = _values(axes[0]) if type(axes) is list and len(axes) == 2 else None
    if is_array(values):
        return list(values[:count].tolist())
    return firsts(values, count) if is_chunked(values) else list(values[:count] if values is not None else ())


def _places(block: Any) -> list[int]:
    """Which columns a block holds: the first of them."""
    placed = path(block, "_mgr_locs", "indexer")
    if type(placed) is slice:
        return list(range(placed.start or 0, placed.stop, placed.step or 1)[:COLUMNS])
    return [int(place) for place in placed[:COLUMNS].tolist()] if is_array(placed) else []


def _table(value: Any) -> Facts:
    manager = attribute(value, "_mgr")
    axes, blocks = attribute(manager, "axes"), attribute(manager, "blocks")
    if type(axes) is not list or type(blocks) is not tuple:
        return Facts()
    lengths = [_length(axis) for axis in reversed(axes)]
    shape = [length for length in lengths if length is not None]
    contents = [attribute(block, "values") for block in blocks[:BLOCKS]]
    sizes = [_bytes(values) for values in contents]
    complete = len(blocks) <= BLOCKS and None not in sizes
    size = sum(size for size in sizes if size is not None) if complete else None
    columns: dict[int, Column] = {}
    for block, values in zip(blocks[:BLOCKS], contents, strict=True):
        columns.update((place, _column(values, row)) for row, place in enumerate(_places(block)))
    shown = _shown(columns, labels(value, COLUMNS), COLUMNS if len(axes) == 2 else 1)
    return Facts(shape if len(shape) == len(axes) else None, size, shown)


def _shown(columns: dict[int, Column], names: list[object], most: int) -> str:
    said = []
    for place in sorted(columns)[:most]:
        column = columns[place]
        some = f" [{column.shown}]" if column.shown else ""
        name = f"{show(names[place])}: " if place < len(names) else ""
        said.append(f"{name}{column.kind}{some}")
    line = "; ".join(said)
    return line if len(line) <= 2 * LINE else f"{line[: 2 * LINE - 1]}…"


# ---- pictures --------------------------------------------------------------------------------------------------------


def _image(value: Any) -> Facts:
    size, mode = attribute(value, "_size"), attribute(value, "_mode")
    if type(size) is not tuple or type(mode) is not str or [type(side) for side in size] != [int, int]:
        return Facts()
    width, height = size
    return Facts([height, width], width * height * BANDS.get(mode, 4), f"{mode[:8]} {width}×{height}")


def _figure(value: Any) -> Facts:
    points, axes = path(value, "bbox_inches", "_points"), path(value, "_axstack", "_axes")
    if not is_array(points) or type(axes) is not dict:
        return Facts()
    width, height = points[1].tolist()
    return Facts(None, None, f"{width:g}×{height:g} inches, axes: {len(axes)}")


READERS = {
    ("numpy", "ndarray"): _array,
    **{("numpy", f"{kind}{bits}"): _scalar for kind in ("int", "uint", "float") for bits in (8, 16, 32, 64)},
    ("numpy", "bool"): _scalar,
    ("numpy", "bool_"): _scalar,
    ("pandas", "DataFrame"): _table,
    ("pandas", "Series"): _table,
    ("PIL", "Image"): _image,
    ("matplotlib", "Figure"): _figure,
}
