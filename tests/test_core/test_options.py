"""KEY=VALUE options: what is typed arrives."""

import argparse
import math

import pytest

from mmdet.core.options import OptionsAction, parse_value

AS_TYPED = [
    '/content/drive/My Drive/epoch 1.pth',
    '/data/a,b.pth',
    'a=b=c',
    'say "hi"',
    "it's",
    'driver\'s "cab"',
    '"quoted blanks"',
    '車,火 ü',
    '[2024] run/a.json',
    'run (2)/a.json',
    'a[1',
    '[a(b]',
    '[a][b]',
    ' leading and trailing ',
    '',
    ' ',
    '007',
    '1_000',
    '12:30',
    '1,2,3',
    '1.2.3',
    'yes',
    'none',
    'C:\\new\\table.json',
    '~/a b',
    '*.pth',
    'a\tb',
]


@pytest.mark.parametrize('text', AS_TYPED)
def test_text_arrives_as_it_was_typed(text):
    assert parse_value(text) == text and isinstance(parse_value(text), str)


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('3', 3),
        ('-3', -3),
        ('0', 0),
        ('1.5', 1.5),
        ('.5', 0.5),
        ('1.', 1.0),
        ('1e-3', 0.001),
        ('True', True),
        ('false', False),
        ('None', None),
        ('inf', math.inf),
        ('[]', []),
        ('()', ()),
        ('[8,11]', [8, 11]),
        ('(640, 360)', (640, 360)),
        ('(1,)', (1,)),
        ('[a, b c, "d, e"]', ['a', 'b c', 'd, e']),
        ("[driver's cab, x]", ["driver's cab", 'x']),
        ('["1", 1]', ['1', 1]),
        ('[(1, 2), [x, None], true]', [(1, 2), ['x', None], True]),
        ('[a=b,]', ['a=b']),
        ('"8"', '8'),
        ("'None'", 'None'),
        ('"(320, 192)"', (320, 192)),
        ('"True"', 'True'),
    ],
)
def test_numbers_words_and_lists_are_those(text, value):
    found = parse_value(text)
    assert found == value and type(found) is type(value)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog='p')
    made.add_argument('--cfg-options', nargs='+', action=OptionsAction)
    return made


def test_pairs_add_up():
    args = ['--cfg-options', 'a.b=1', 'c= x = y', '--cfg-options', 'd=[1,2]', 'a.b=2']
    assert parser().parse_args(args).cfg_options == {'a.b': 2, 'c': ' x = y', 'd': [1, 2]}
    assert parser().parse_args([]).cfg_options is None


@pytest.mark.parametrize('text', ['novalue', '=1', ' =1'])
def test_what_is_no_pair_is_one_sentence(text, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(['--cfg-options', text])
    assert f'--cfg-options: {text!r} is no KEY=VALUE' in capsys.readouterr().err
