"""Which class a label means: the names of two lists against each other."""

from collections.abc import Sequence


def labels_by_name(given: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """The label in `wanted` of each name of `given`; None unless both hold the same names."""
    if len(given) != len(wanted) or set(given) != set(wanted) or len(set(given)) != len(given):
        return None
    position = {name: label for label, name in enumerate(wanted)}
    return [position[name] for name in given]


def both_lists(one: str, one_names: Sequence[str], other: str, other_names: Sequence[str]) -> str:
    """Two class lists in words, and what each has alone."""
    text = f'{one} has {_listed(one_names)}; {other} has {_listed(other_names)}.'
    for who, names, others in ((one, one_names, other_names), (other, other_names, one_names)):
        alone = [name for name in names if name not in others]
        if alone and len(alone) < len(names):
            text += f' Only {who} has {_listed(alone)}.'
    return text


def _listed(names: Sequence[str]) -> str:
    return ', '.join(map(repr, names)) or 'none'
