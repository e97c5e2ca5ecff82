"""Names of weights in two code bases, as a table that is read in both directions."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor


def _same(tensor: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True)
class Rule:
    """One name on both sides; `{i}` stands for a number, `{rest}` for the end of the name.

    Args:
        theirs, ours: templates with the same fields.
        forward, backward: what happens to the values on the way to us, and back.
    """

    theirs: str
    ours: str
    forward: Callable[[Tensor], Tensor] = _same
    backward: Callable[[Tensor], Tensor] = _same


@dataclass
class Converted:
    """Weights under their new names, and the names that have none.

    `what` says in words what the file holds.
    """

    what: str
    weights: dict[str, Tensor] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def rename(
    weights: Mapping[str, Tensor], rules: Iterable[Rule], what: str, backwards: bool = False
) -> Converted:
    """Apply to every name the first rule that fits it."""
    table = [
        (_pattern(rule.ours), rule.theirs, rule.backward)
        if backwards
        else (_pattern(rule.theirs), rule.ours, rule.forward)
        for rule in rules
    ]
    converted = Converted(what)
    for name, tensor in weights.items():
        for pattern, template, change in table:
            match = pattern.fullmatch(name)
            if match:
                converted.weights[template.format(**match.groupdict())] = change(tensor)
                break
        else:
            converted.left_out.append(name)
    return converted


def _pattern(template: str) -> re.Pattern:
    pattern = re.escape(template).replace(r'\{i\}', r'(?P<i>\d+)')
    return re.compile(pattern.replace(r'\{rest\}', r'(?P<rest>.+)'))
