"""KEY=VALUE options of commands: values arrive as they were typed, lists are written as lists."""

import argparse
import re
from collections.abc import Iterator, Sequence
from typing import Any

_WORDS = {'true': True, 'false': False, 'None': None}
_INTEGER = re.compile(r'[+-]?(0|[1-9]\d*)')
_FRACTION = re.compile(r'[+-]?((\d+\.\d*|\.\d+)([eE][+-]?\d+)?|\d+[eE][+-]?\d+|inf|nan)')
_CLOSING = {'[': ']', '(': ')'}


class OptionsAction(argparse.Action):
    """Gathers KEY=VALUE arguments in a dict; a flag that is given twice adds to it."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        options = dict(getattr(namespace, self.dest) or {})
        for text in values:
            key, equals, value = text.partition('=')
            if not equals or not key.strip():
                parser.error(f'{option_string}: {text!r} is no KEY=VALUE, such as model.width=64')
            options[key.strip()] = parse_value(value)
        setattr(namespace, self.dest, options)


def parse_value(text: str) -> Any:
    """What a value stands for.

    Numbers, True, False and None are those; [a, b] is a list and (a, b) a tuple of values, to any
    depth. All else is text as it was typed, with its blanks, commas, quotes and equals signs.
    Quotes that are part of the value make a text of what would be a number or a word, "12", and
    hold the commas of an element together; around a whole list they say nothing.
    """
    inner = _unquoted(text)
    if inner is not None and not isinstance(value := parse_value(inner), str):
        return value if isinstance(value, (list, tuple)) else inner
    if text[:1] in _CLOSING and text[-1:] == _CLOSING[text[0]]:
        elements = _elements(text[1:-1])
        if elements is not None:
            values = [_element(element) for element in elements]
            return values if text[0] == '[' else tuple(values)
    return _scalar(text)


def _element(text: str) -> Any:
    inner = _unquoted(text)
    return parse_value(text) if inner is None else inner


def _unquoted(text: str) -> str | None:
    """What stands between the quotes around a text; None where none are around all of it."""
    if len(text) >= 2 and text[0] in '\'"' and text[-1] == text[0] and text[0] not in text[1:-1]:
        return text[1:-1]
    return None


def _scalar(text: str) -> Any:
    word = text if text == 'None' else text.lower()
    if word in _WORDS:
        return _WORDS[word]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FRACTION.fullmatch(text) else text


def _elements(text: str) -> list[str] | None:
    """The parts between commas outside of brackets and quotes; None: brackets that do not match."""
    parts, depth, start = [], [], 0
    for at, char in _outside_quotes(text):
        if char in _CLOSING:
            depth.append(_CLOSING[char])
        elif char in _CLOSING.values() and (not depth or depth.pop() != char):
            return None
        elif char == ',' and not depth:
            parts.append(text[start:at].strip())
            start = at + 1
    if depth:
        return None
    last = text[start:].strip()
    return [*parts, last] if last else parts


def _outside_quotes(text: str) -> Iterator[tuple[int, str]]:
    """(position, character) of what is not inside of a quoted element.

    A quote begins one only where an element begins, so that an apostrophe stays one.
    """
    quote, fresh = None, True
    for at, char in enumerate(text):
        if quote:
            quote = None if char == quote else quote
            continue
        if char in '\'"' and fresh and char in text[at + 1 :]:
            quote = char
            continue
        fresh = char in ',[(' or (fresh and char.isspace())
        yield at, char
