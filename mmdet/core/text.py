"""Reading text of users: UTF-8 with or without the mark of Windows editors, JSON and YAML in it,
and XML in the encoding that it declares. What cannot be read is one error with file and line."""

import codecs
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from mmdet.core.errors import VFEError

_UTF16_OR_32 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_HINT = 'Save it as UTF-8.'
_DECLARED = re.compile(rb'(?:\xef\xbb\xbf)?\s*<\?xml[^>]*?\sencoding\s*=\s*["\']([\w.:-]+)["\']')
_HEAD = 1024  # bytes in which an XML declaration stands
_BLOCK = 1 << 20  # characters
_LINE_END = re.compile(r'\r\n|\r|\n')
# what Windows programs mean by the names of smaller encodings
_SUPERSETS = {'gb2312': 'gb18030', 'gbk': 'gb18030', 'shift_jis': 'cp932', 'euc_kr': 'cp949'}


def read_text(path: Path, error: type[VFEError]) -> str:
    """The text of a UTF-8 file, without the byte order mark that some editors put first.

    Raises:
        error: it cannot be opened, or is not UTF-8; names the file and the line.
    """
    try:
        data = path.read_bytes()
    except OSError as reason:
        raise error(f'{path} cannot be read: {reason.strerror}.') from reason
    if data.startswith(_UTF16_OR_32):
        raise error(f'{path} cannot be read as text: it is UTF-16 or UTF-32, not UTF-8. {_HINT}')
    try:
        text = data.decode('utf-8-sig')
    except UnicodeDecodeError as reason:
        line = len(_LINE_END.split(data[: reason.start].decode('latin-1')))
        raise error(
            f'{path} cannot be read as text: line {line} holds the byte '
            f'0x{data[reason.start]:02x}, which is not UTF-8. {_HINT}'
        ) from reason
    if '\0' in text:
        line = len(_LINE_END.split(text[: text.index('\0')]))
        raise error(f'{path} cannot be read as text: line {line} holds a zero byte. {_HINT}')
    return text


def lines_of(text: str) -> list[str]:
    """Lines as editors show them: they end in LF, CR LF or CR, and in nothing else.

    (`str.splitlines` also cuts at characters that may stand in names, such as U+2028.)
    """
    lines = _LINE_END.split(text)
    return lines[:-1] if lines[-1] == '' else lines


def read_rows(path: Path, error: type[VFEError]) -> list[tuple[int, str]]:
    """(number from 1, text without blanks around it) of the lines that are not blank.

    Raises as `read_text`.
    """
    lines = enumerate(lines_of(read_text(path, error)), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]


def read_json(path: Path, error: type[VFEError]) -> Any:
    """The value of a JSON file. Raises as `read_text` and `parsed`."""
    return parsed(json.loads, read_text(path, error), path, error)


def parsed(
    parse: Callable[[str], Any], text: str, path: Path, error: type[VFEError], line: int = 1
) -> Any:
    """What a parser of JSON or YAML makes of a text, which begins at that line of the file.

    Raises:
        error: it is not such a text, nested too deeply, or holds a number of thousands of digits;
            names the file and, where the parser does, the line.
    """
    try:
        return parse(text)
    except RecursionError as reason:
        raise error(f'{path} cannot be read: it is nested too deeply.') from reason
    except json.JSONDecodeError as reason:
        at, said = line + reason.lineno - 1, f'{reason.msg} (column {reason.colno})'
        raise error(f'{path}, line {at} is not JSON: {said}.') from reason
    except yaml.MarkedYAMLError as reason:
        mark = reason.problem_mark or reason.context_mark
        at = f', line {mark.line + line}' if mark else ''
        said = ' '.join(filter(None, (reason.context, reason.problem)))
        raise error(f'{path}{at} is not YAML: {said}.') from reason
    except (ValueError, yaml.YAMLError) as reason:
        raise error(f'{path} cannot be read: {" ".join(str(reason).split())[:300]}.') from reason


def read_xml(path: Path, error: type[VFEError]) -> ElementTree.Element:
    """The root of an XML file, in any encoding that it declares and Python knows.

    Raises:
        error: it cannot be opened, decoded or parsed; names the file.
    """
    try:
        data = path.read_bytes()
        encoding = _encoding(data[:_HEAD])
        return ElementTree.fromstring(data if encoding is None else data.decode(encoding))
    except (OSError, LookupError, ValueError, ElementTree.ParseError) as reason:
        raise error(_xml_fault(path, reason)) from reason


def xml_events(path: Path, error: type[VFEError]) -> Iterator[tuple[str, ElementTree.Element]]:
    """('start' or 'end', element) as a large XML file is read piece by piece. Raises as `read_xml`.

    The caller empties the elements that it has seen.
    """
    try:
        with open(path, 'rb') as file:
            encoding = _encoding(file.read(_HEAD))
            file.seek(0)
            if encoding is None:
                yield from ElementTree.iterparse(file, events=('start', 'end'))
                return
            parser = ElementTree.XMLPullParser(('start', 'end'))
            text = codecs.getreader(encoding)(file)
            while block := text.read(_BLOCK):
                parser.feed(block)
                yield from parser.read_events()
            parser.close()
            yield from parser.read_events()
    except (OSError, LookupError, ValueError, ElementTree.ParseError) as reason:
        raise error(_xml_fault(path, reason)) from reason


def _encoding(head: bytes) -> str | None:
    """What to decode an XML file with before it is parsed; None: the parser finds out itself."""
    declared = _DECLARED.match(head)
    if declared is None:
        return None
    name = codecs.lookup(declared[1].decode('ascii')).name
    if head.startswith(codecs.BOM_UTF8) or name.startswith(('utf-16', 'utf-32')):
        return 'utf-8-sig'  # the declaration is there byte by byte, so it is no UTF-16
    b'<'.decode(name)  # a LookupError for what is no encoding of text, such as zip
    return None if name in ('utf-8', 'ascii') else _SUPERSETS.get(name, name)


def _xml_fault(path: Path, reason: Exception) -> str:
    if isinstance(reason, OSError):
        missing = isinstance(reason, FileNotFoundError)
        return f'{path} is missing' if missing else f'{path} cannot be read: {reason.strerror}'
    if isinstance(reason, UnicodeDecodeError):
        return (
            f'{path} declares the encoding {reason.encoding}, but byte {reason.start} '
            f'(0x{reason.object[reason.start]:02x}) is not of it. Save it as UTF-8.'
        )
    if isinstance(reason, LookupError):
        return f'{path} declares an encoding that is not known ({reason}). {_HINT}'
    return f'{path} is not well-formed XML: {reason}'
