"""Text of users: encodings, byte order marks and line ends."""

import pytest
import yaml

from mmdet.core.errors import ConversionError
from mmdet.core.text import (
    lines_of,
    parsed,
    read_json,
    read_rows,
    read_text,
    read_xml,
    xml_events,
)

XML = '<?xml version="1.0" encoding="{}"?>\n<a><name>{}</name></a>'


def test_mark_of_windows_editors_and_line_ends_do_not_count(tmp_path):
    path = tmp_path / 't.txt'
    path.write_bytes('\ufeffcar\r\n\r\n bus \rvan\n'.encode())
    assert read_rows(path, ConversionError) == [(1, 'car'), (3, 'bus'), (4, 'van')]


def test_only_line_ends_end_lines():
    assert lines_of('a\u2028b\x0cc\x85d\ne') == ['a\u2028b\x0cc\x85d', 'e']
    assert lines_of('') == [] and lines_of('a\n\n') == ['a', '']


@pytest.mark.parametrize(
    ('data', 'told'),
    [
        ('car\n汽车\n'.encode('gbk'), 'line 2 holds the byte 0xc6'),
        ('1,1\n'.encode('utf-16'), 'it is UTF-16'),
        ('1,1\n'.encode('utf-16-le'), 'line 1 holds a zero byte'),
        ('1,1\n'.encode('utf-32'), 'it is UTF-16 or UTF-32'),
        (b'a\r\nb\rc\xff', 'line 3 holds the byte 0xff'),
    ],
)
def test_what_is_not_utf8_is_one_error_with_file_and_line(tmp_path, data, told):
    path = tmp_path / 'labels.txt'
    path.write_bytes(data)
    with pytest.raises(ConversionError, match=rf'labels\.txt cannot be read as text: .*{told}'):
        read_text(path, ConversionError)


@pytest.mark.parametrize(
    ('declared', 'written', 'name'),
    [
        ('gbk', 'gbk', '汽车'),
        ('gb2312', 'gb2312', '汽车'),
        ('GB2312', 'gbk', '镕'),  # not in GB2312, but in what Windows writes under that name
        ('euc-jp', 'euc-jp', '車'),
        ('Shift_JIS', 'cp932', '車①'),
        ('big5', 'big5', '車'),
        ('euc-kr', 'cp949', '차똠'),
        ('iso-8859-1', 'iso-8859-1', 'ü'),
        ('windows-1251', 'cp1251', 'я'),
        ('utf-8', 'utf-8-sig', '車'),
        ('utf-16', 'utf-16', '車'),
        ('utf-16', 'utf-8', '車'),  # what .NET declares for a string
        ('gbk', 'utf-8-sig', '車'),  # the mark is right, the declaration is not
    ],
)
def test_xml_is_read_in_the_encoding_it_declares(tmp_path, declared, written, name):
    path = tmp_path / 'a.xml'
    path.write_bytes(XML.format(declared, name).encode(written))
    assert read_xml(path, ConversionError).findtext('name') == name
    ends = [e.text for event, e in xml_events(path, ConversionError) if event == 'end']
    assert ends == [name, None]


@pytest.mark.parametrize(
    ('data', 'told'),
    [
        (XML.format('klingon', 'a').encode(), 'declares an encoding that is not known.*klingon'),
        (XML.format('zip', 'a').encode(), 'declares an encoding that is not known.*zlib'),
        (XML.format('gbk', 'a').encode() + b'\xff', 'declares the encoding .*0xff'),
        (b'<a><b>', 'is not well-formed XML'),
        (b'', 'is not well-formed XML'),
    ],
)
def test_xml_that_cannot_be_read_names_the_file(tmp_path, data, told):
    path = tmp_path / 'a.xml'
    path.write_bytes(data)
    with pytest.raises(ConversionError, match=rf'a\.xml {told}'):
        read_xml(path, ConversionError)
    with pytest.raises(ConversionError, match=rf'a\.xml {told}'):
        list(xml_events(path, ConversionError))


@pytest.mark.parametrize(
    ('data', 'told'),
    [
        (b'{"a": 1,\n"b" 2}', r'a\.json, line 2 is not JSON'),
        (b'[' * 100_000, r'a\.json cannot be read: it is nested too deeply'),
        (b'[' + b'9' * 5000 + b']', r'a\.json cannot be read: .*digits'),
        (b'[1,\n\xff]', r'a\.json cannot be read as text: line 2 holds the byte 0xff'),
        ('[]'.encode('utf-16'), 'it is UTF-16'),
    ],
)
def test_json_that_cannot_be_read_is_one_error(tmp_path, data, told):
    path = tmp_path / 'a.json'
    path.write_bytes(data)
    with pytest.raises(ConversionError, match=told):
        read_json(path, ConversionError)


def test_lines_of_yaml_are_named(tmp_path):
    for text, told in (('a: 1\nb: [', 'line 2 is not YAML'), ('[' * 10_000, 'nested too deeply')):
        with pytest.raises(ConversionError, match=rf'a\.yaml.*{told}'):
            parsed(yaml.safe_load, text, tmp_path / 'a.yaml', ConversionError)


def test_missing_files_are_named(tmp_path):
    for read in (read_text, read_xml):
        with pytest.raises(ConversionError, match=r'no\.txt'):
            read(tmp_path / 'no.txt', ConversionError)


def test_multibyte_characters_are_not_cut_between_blocks(tmp_path):
    text = '車' * 1_100_001
    path = tmp_path / 'long.xml'
    path.write_bytes(XML.format('gbk', text).encode('gbk'))
    found = [e.text for event, e in xml_events(path, ConversionError) if e.tag == 'name']
    assert found[-1] == text
