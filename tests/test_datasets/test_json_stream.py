"""The stream against `json.loads` of the whole text, cut into blocks of every awkward size."""

import json
import math

import pytest

from mmdet.datasets.parsers.json_stream import JSONStream

DOCUMENT = {
    'info': {'note': 'a "quoted" },{ note \\ with [brackets], and \u00fc\u6f22\U0001f600'},
    'number': -12.5e3,
    'nothing': None,
    'empty': [],
    'objects': [{'id': i, 'name': f'x}},{{"{i}', 'box': [i, 0.5, -1, 2e-3]} for i in range(9)],
    'nested': [{'rle': {'counts': 'a},b', 'size': [1, 2]}, 'parts': [{'a': 1}, {'b': {}}]}] * 4,
    'plain': [1, 2.25, 'three', None, [4, [5]], False],
    'lists': [[{'a': 1}, {'b': 2}], [{'c': 3}]],
    'last': 7,
}


def blocks(text: str, size: int):
    data = text.encode()
    return (data[i : i + size] for i in range(0, len(data), size))


def read(text: str, size: int) -> dict:
    result = {}
    for key, value in JSONStream(blocks(text, size)):
        if isinstance(value, list) and value:
            result[key] += value
        else:
            result[key] = value
    return result


@pytest.mark.parametrize('size', [1, 3, 64, 1 << 20])
@pytest.mark.parametrize('style', [{}, {'indent': 2}, {'ensure_ascii': False}])
def test_equals_the_whole_parser(size, style):
    text = json.dumps(DOCUMENT, **style)
    assert read('\ufeff' + text, size) == DOCUMENT
    assert list(read(text, size)) == list(DOCUMENT)
    assert read('{"a": [{"x": 1}], "a": [{"x": Infinity}]}', size) == {'a': [{'x': math.inf}]}


def test_lists_arrive_in_parts():
    """A window never holds more than a few blocks, so that memory does not grow with the file."""
    text = json.dumps({'objects': [{'id': i} for i in range(1000)]})
    parts = [part for _, part in JSONStream(blocks(text, 100))]
    assert max(map(len, parts)) <= 40
    assert [entry['id'] for part in parts for entry in part] == list(range(1000))
