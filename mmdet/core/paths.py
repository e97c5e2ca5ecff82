"""Paths that come from files or clients stay inside the folder they are meant for."""

import os
from pathlib import Path

from mmdet.core.errors import UnsafePathError


def contained(folder: str | os.PathLike, name: str | os.PathLike, what: str = 'The path') -> Path:
    """`folder/name`, links resolved, if that is below `folder`. It need not exist.

    Args:
        folder: trusted.
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
