"""Reading the lists of a large JSON object piece by piece, in the memory of one piece.

`json.load` turns ImageNet VID's 550 MB of annotations into 2.4 GB of dicts. Here a window of text
slides over the file; the complete entries in it are parsed by one call of the C parser.
"""

import codecs
import json
from collections.abc import Iterator
from typing import Any

_WHITESPACE = ' \t\n\r'
# A window that ends inside a token (at most '-Infinity') fails this close to its end.
_TOKEN = 16


class JSONStream:
    """The top level of a JSON object, read from an iterator of bytes.

    Iterating yields `(key, value)`. A list comes as several `(key, part)` in order, each part a
    non-empty list, after one empty part that announces it; any other value comes whole.

    Raises (while iterating):
        ValueError: not JSON, not UTF-8, or not an object at the top; says at which character.
    """

    def __init__(self, blocks: Iterator[bytes]):
        self._blocks = iter(blocks)
        self._decode = codecs.getincrementaldecoder('utf-8-sig')().decode
        self._parse = json.JSONDecoder().raw_decode
        self._text = ''  # the window
        self._at = 0  # the next character in it
        self._passed = 0  # characters of the file before the window
        self._ended = False

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        if self._peek() == '':
            raise ValueError('it is empty')
        self._expect('{', 'the top level must be an object')
        if self._peek() == '}':
            self._at += 1
        else:
            yield from self._members()
        if self._peek() != '':
            self._fail('text after the end of the object')

    def _members(self) -> Iterator[tuple[str, Any]]:
        while True:
            if self._peek() != '"':
                self._fail('a key in double quotes is expected')
            key = self._value()
            self._expect(':', f'a colon must follow the key {key!r}')
            if self._peek() == '[':
                self._at += 1
                yield key, []
                for part in self._list_parts():
                    yield key, part
            else:
                yield key, self._value()
            if self._next_or_end('}'):
                return

    def _list_parts(self) -> Iterator[list]:
        if self._peek() == ']':
            self._at += 1
            return
        while True:
            part = self._window_of_objects()
            if part:
                yield part
                continue
            part, ended = self._entries_one_by_one()
            yield part
            if ended:
                return

    def _window_of_objects(self) -> list | None:
        """Parse to the last `},` of the window at once; None if that is not between two entries.

        A cut inside an entry, or beyond the end of the list, leaves brackets unbalanced, so that
        the parser refuses it: a wrong cut is never taken for a right one.
        """
        cut = self._text.rfind('},', self._at)
        if cut < 0:
            return None
        try:
            part = json.loads(f'[{self._text[self._at : cut + 1]}]')
        except (ValueError, RecursionError):
            return None
        self._at = cut + 2
        self._peek()
        return part

    def _entries_one_by_one(self) -> tuple[list, bool]:
        """Parse entries to the end of the window or of the list; (entries, the list has ended)."""
        window, part = self._passed, []
        while True:
            part.append(self._value())
            if self._next_or_end(']'):
                return part, True
            if self._passed != window:
                return part, False

    def _next_or_end(self, closing: str) -> bool:
        """Step over a comma (False) or the closing bracket (True)."""
        if self._peek() == closing:
            self._at += 1
            return True
        self._expect(',', f'a comma or {closing!r} is expected')
        self._peek()
        return False

    def _value(self) -> Any:
        self._peek()
        while True:
            try:
                value, end = self._parse(self._text, self._at)
            except json.JSONDecodeError as error:
                unfinished = (
                    error.msg.startswith('Unterminated') or error.pos > len(self._text) - _TOKEN
                )
                if not unfinished or not self._read_on():
                    self._at = error.pos
                    self._fail(error.msg)
            except RecursionError:
                self._fail('nested too deeply')
            else:
                # a number may go on: '2' of a window that ends in '2.' or '2e-'
                if end < len(self._text) - 2 or not self._read_on():
                    self._at = end
                    return value

    def _peek(self) -> str:
        """Skip white space; the next character, or '' at the end of the file."""
        while True:
            text, at = self._text, self._at
            while at < len(text) and text[at] in _WHITESPACE:
                at += 1
            self._at = at
            if at < len(text):
                return text[at]
            if not self._read_on():
                return ''

    def _expect(self, character: str, rule: str) -> None:
        if self._peek() != character:
            self._fail(rule)
        self._at += 1

    def _read_on(self) -> bool:
        """Drop what was parsed and at least double what remains; False at the end of the file."""
        rest = len(self._text) - self._at
        more, size = [], 0
        while not self._ended and size <= rest:
            block = next(self._blocks, b'')
            self._ended = not block
            more.append(self._decode(block, self._ended))
            size += len(more[-1])
        if size:
            self._passed += self._at
            self._text = ''.join([self._text[self._at :], *more])
            self._at = 0
        return size > 0

    def _fail(self, rule: str):
        place = self._passed + self._at
        near = self._text[self._at : self._at + 20]
        where = f'near {near!r}' if near else 'where it ends (is it cut short?)'
        raise ValueError(f'{rule}, at character {place} {where}')
