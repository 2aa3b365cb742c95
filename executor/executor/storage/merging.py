"""Putting what was unpacked into the workspace: all of it or nothing, by renames that can be taken back."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from executor.storage.beneath import directory
from executor.storage.errors import Occupied, translated
from executor.storage.names import Parts, join
from executor.storage.syscalls import rename_noreplace

MOST_TOLD = 100


class _Step(NamedTuple):
    """Something was renamed, from one tree (an open directory) to another."""

    source: int
    before: Parts
    target: int
    after: Parts


def merge(unpacked: int, root: int, aside: int, replace: bool) -> None:
    """Move everything in the directory open as `unpacked` to the same place below `root`. Folders that are there already
    receive what is in those of the same name. With `replace`, files take the place of ordinary files, which go to `aside`.
    Raises Occupied with the names that stand in the way; then, and after any other error, everything is as it was."""
    in_the_way = [join(parts) for parts in _clashes(unpacked, root, (), replace)]
    if in_the_way:
        raise Occupied(
            f"{len(in_the_way)} names are taken, the first is {in_the_way[0]}. Nothing was imported. Import into another "
            "folder, or allow files to be replaced.",
            occupied=in_the_way[:MOST_TOLD],
        )
    done: list[_Step] = []
    try:
        _move_all(unpacked, root, aside, (), replace, done)
    except BaseException:
        for step in reversed(done):
            with suppress(OSError):  # the tenant has moved it on: then it is where they want it
                _rename(step.target, step.after, step.source, step.before)
        raise


def _clashes(unpacked: int, root: int, parts: Parts, replace: bool) -> Iterator[Parts]:
    with directory(unpacked, parts) as new, directory(root, parts) as old:
        for name in sorted(os.listdir(new)):  # noqa: PTH208 (of a descriptor, not of a path)
            there = _kind(old, name)
            if there is None:
                continue
            here = _kind(new, name)
            if here == there == stat.S_IFDIR:
                yield from _clashes(unpacked, root, (*parts, name), replace)
            elif not (replace and here == there == stat.S_IFREG):
                yield (*parts, name)


def _move_all(unpacked: int, root: int, aside: int, parts: Parts, replace: bool, done: list[_Step]) -> None:
    with directory(unpacked, parts) as new:
        names = sorted(os.listdir(new))  # noqa: PTH208
    for name in names:
        here = (*parts, name)
        with translated(join(here)):
            try:
                _moved(unpacked, here, root, here, done)
            except FileExistsError:
                if _is_folder(unpacked, here):
                    _move_all(unpacked, root, aside, here, replace, done)
                elif replace:
                    _moved(root, here, aside, (str(len(done)),), done)
                    _moved(unpacked, here, root, here, done)
                else:
                    raise


def _moved(source: int, before: Parts, target: int, after: Parts, done: list[_Step]) -> None:
    _rename(source, before, target, after)
    done.append(_Step(source, before, target, after))


def _rename(source: int, before: Parts, target: int, after: Parts) -> None:
    with directory(source, before[:-1]) as old, directory(target, after[:-1]) as new:
        rename_noreplace(before[-1], old, after[-1], new)


def _is_folder(tree: int, parts: Parts) -> bool:
    with directory(tree, parts[:-1]) as fd:
        return _kind(fd, parts[-1]) == stat.S_IFDIR


def _kind(fd: int, name: str) -> int | None:
    try:
        return stat.S_IFMT(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return None
