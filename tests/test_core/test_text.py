"""Text of users: encodings, byte order marks and line ends."""

import pytest

from mmdet.core.errors import ConversionError
from mmdet.core.text import (
    read_json,
    read_rows,
    read_text,
    read_xml,
    xml_events,
)

XML = '<?xml version="1.0" encoding="{}"?>\n<a><name>{}</name></a>'


def test_mark_of_windows_editors_and_line_ends_do_not_count(tmp_path):
    path = tmp_path / 't.txt'
    path.write_bytes('\ufeffcar\r\n\r\n bus\u2028 \rvan\n'.encode())
    assert read_rows(path, ConversionError) == [(1, 'car'), (3, 'bus'), (4, 'van')]


def events(path, error) -> list:
    return list(xml_events(path, error))


UNREADABLE = [
    (read_text, 'car\n汽车\n'.encode('gbk'), 'line 2 holds the byte 0xc6'),
    (read_text, '1,1\n'.encode('utf-16'), 'it is UTF-16'),
    (read_text, '1,1\n'.encode('utf-16-le'), 'line 1 holds a zero byte'),
    (read_text, None, 'cannot be read'),
    (read_json, b'{"a": 1,\n"b" 2}', 'line 2 is not JSON'),
    (read_json, b'[' * 100_000, 'nested too deeply'),
    (read_json, b'[' + b'9' * 5000 + b']', 'cannot be read: .*digits'),
]
for reader in (read_xml, events):
    UNREADABLE += [
        (reader, XML.format('klingon', 'a').encode(), 'declares an encoding that .*klingon'),
        (reader, XML.format('gbk', 'a').encode() + b'\xff', 'declares the encoding .*0xff'),
        (reader, b'<a><b>', 'is not well-formed XML'),
        (reader, None, 'is missing'),
    ]


@pytest.mark.parametrize(('read', 'data', 'told'), UNREADABLE)
def test_what_cannot_be_read_is_one_error_with_file_and_line(tmp_path, read, data, told):
    path = tmp_path / 'labels.txt'
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConversionError, match=rf'labels\.txt.*{told}'):
        read(path, ConversionError)


@pytest.mark.parametrize(
    ('declared', 'written', 'name'),
    [
        ('gbk', 'gbk', '汽车'),
        ('GB2312', 'gbk', '镕'),  # not in GB2312, but in what Windows writes under that name
        ('Shift_JIS', 'cp932', '車①'),
        ('utf-8', 'utf-8-sig', '車'),
        ('utf-16', 'utf-8', '車'),  # what .NET declares for a string
        ('gbk', 'utf-8-sig', '車'),  # the mark is right, the declaration is not
        ('gbk', 'gbk', '車' * 1_100_001),  # no character is cut between blocks
    ],
)
def test_xml_is_read_in_the_encoding_it_declares(tmp_path, declared, written, name):
    path = tmp_path / 'a.xml'
    path.write_bytes(XML.format(declared, name).encode(written))
    assert read_xml(path, ConversionError).findtext('name') == name
    ends = [e.text for event, e in xml_events(path, ConversionError) if event == 'end']
    assert ends == [name, None]
