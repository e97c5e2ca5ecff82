"""Class names of YOLO datasets: which file holds them, and the names as they are written there."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import yaml

from mmdet.core.errors import ConversionError
from mmdet.core.text import parsed, read_rows, read_text

NAME_FILES = (
    *('data.yaml', 'data.yml', 'dataset.yaml'),
    *('obj.names', 'classes.txt', 'labels/classes.txt'),
)
_LEGAL = '`names` must be a list of class names, or a name for each number 0, 1, ...'


def find_names(root: Path) -> tuple[list[str] | None, Path | None]:
    """Class names in the order of their numbers, and the file they stand in."""
    absolute = root.absolute()
    for folder in (absolute, *absolute.parents[:2]):
        for path in (folder / name for name in NAME_FILES):
            if path.is_file():
                return read_names(path), path
    return None, None


def read_names(path: Path) -> list[str]:
    """Class names of a file: `names` of a YAML file, else one per line."""
    if path.suffix.lower() in ('.yaml', '.yml'):
        names = _yaml_names(path)
    else:
        names = [name for _, name in read_rows(path, ConversionError)]
    return unique_names(names, path)


def unique_names(names: Sequence[str], path: Path, first: int = 0) -> list[str]:
    """The names, which must differ; `first` is the number of the first one in the file's format."""
    if not names:
        raise ConversionError(f'{path} holds no class name.')
    for number, name in enumerate(names, first):
        earlier = names.index(name) + first
        if earlier != number:
            raise ConversionError(
                f'{path}: the numbers {earlier} and {number} have one name, {name!r}. Rename one '
                f'of them, or give both labels one number.'
            )
    return list(names)


def _yaml_names(path: Path) -> list[str]:
    """`names` as they are written: YAML would read yes, null, 007 and 12:30 as other things."""
    compose = partial(yaml.compose, Loader=yaml.SafeLoader)
    root = parsed(compose, read_text(path, ConversionError), path, ConversionError)
    entries = root.value if isinstance(root, yaml.MappingNode) else []
    found = [value for key, value in entries if key.value == 'names']
    if len(found) != 1:
        raise ConversionError(f'{path}: {_LEGAL} (found {len(found)} times).')
    if isinstance(found[0], yaml.SequenceNode):
        return [_name(node, path) for node in found[0].value]
    if not isinstance(found[0], yaml.MappingNode):
        raise ConversionError(f'{path}: {_LEGAL}')
    by_number: dict[str, str] = {}
    for key, value in found[0].value:
        if key.value in by_number:
            line = key.start_mark.line + 1
            raise ConversionError(f'{path}, line {line}: the number {key.value} has two names.')
        by_number[key.value] = _name(value, path)
    if set(by_number) != {str(number) for number in range(len(by_number))}:
        raise ConversionError(f'{path}: {_LEGAL}')
    return [by_number[str(number)] for number in range(len(by_number))]


def _name(node: yaml.Node, path: Path) -> str:
    if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
        line = node.start_mark.line + 1
        raise ConversionError(f'{path}, line {line}: {_LEGAL}')
    return node.value.strip()
