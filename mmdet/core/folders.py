"""Folders of users, which have links and hidden files in them, and paths that must stay in one."""

import fnmatch
import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmdet.core.errors import UnsafePathError
from mmdet.core.images import natural_key


def hidden(name: str) -> bool:
    """What systems put beside the files of a user, such as `._0001.jpg` of macOS."""
    return name.startswith('.') or name == '__MACOSX'


def walk_files(root: Path) -> Iterator[Path]:
    """All files below a folder in natural order, without hidden ones.

    Links to folders are followed, but every folder is walked once: a link to one that is there
    anyway (above it, too) adds no second video with the same frames.
    """
    for folder in sorted(_folders(root), key=lambda path: [natural_key(p) for p in path.parts]):
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if not e.is_dir() and not hidden(e.name)]
        for name in sorted(names, key=natural_key):
            yield folder / name


def _folders(root: Path) -> Iterator[Path]:
    """Folders below and with the root, each under one name: its own rather than that of a link."""
    seen: set[str] = set()
    waiting, links = [root], []
    while waiting or links:
        folder = waiting.pop() if waiting else links.pop(0)
        real = os.path.realpath(folder)
        if real in seen:
            continue
        seen.add(real)
        yield folder
        with os.scandir(folder) as entries:
            inner = [e for e in entries if e.is_dir() and not hidden(e.name)]
        waiting += [folder / entry.name for entry in inner if not entry.is_symlink()]
        found = [folder / entry.name for entry in inner if entry.is_symlink()]
        links += sorted(found, key=lambda path: natural_key(path.name))


def matching_files(pattern: str) -> list[Path]:
    """The files that a glob pattern means; `**` walks as `walk_files` does, so that it ends."""
    parts = Path(pattern).parts
    if '**' not in parts:
        return [Path(name) for name in glob.glob(pattern) if os.path.isfile(name)]
    depth = parts.index('**')
    start, rest = Path(*parts[:depth]), parts[depth:]
    roots = [Path(name) for name in glob.glob(str(start)) if os.path.isdir(name)]
    return [
        path
        for root in roots
        for path in walk_files(root)
        if path.is_file() and _fits(path.relative_to(root).parts, rest)
    ]


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a path fit those of a pattern; `**` stands for any number of folders."""
    if not pattern:
        return not parts
    if pattern[0] == '**':
        return _fits(parts, pattern[1:]) or (bool(parts) and _fits(parts[1:], pattern))
    return (
        bool(parts) and fnmatch.fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])
    )


def contained(folder: str | os.PathLike, name: str | os.PathLike, what: str = 'The path') -> Path:
    """`folder/name`, links resolved, if that is below `folder`. It need not exist.

    Args:
        name: from an annotation file, a checkpoint, a request: not trusted.
        what: how the message names it.

    Raises:
        UnsafePathError: it leads to the folder itself or out of it (`..`, an absolute path, a
            link), or is no path at all.
    """
    root = Path(folder).resolve()
    try:
        path = (root / name).resolve()
    except (ValueError, RuntimeError, OSError) as error:  # a zero byte, a loop of links, too long
        raise UnsafePathError(f'{what} {str(name)[:200]!r} is no path: {error}.') from error
    if path == root or not path.is_relative_to(root):
        raise UnsafePathError(
            f'{what} {str(name)[:200]!r} leads out of {folder}. Legal: a path below that folder, '
            f'links included.'
        )
    return path
