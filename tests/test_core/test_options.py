"""KEY=VALUE options: what is typed arrives."""

import argparse
import math

import pytest

from mmdet.core.options import OptionsAction, parse_value

AS_TYPED = [
    *('/content/drive/My Drive/epoch 1.pth', '/data/a,b.pth', 'a=b=c', 'C:\\new\\table.json'),
    *("it's", 'driver\'s "cab"', '"quoted blanks"', ' leading and trailing ', ''),
    *('[2024] run/a.json', 'run (2)/a.json', 'a[1', '[a][b]', '車,火 ü', 'yes', 'none'),
    *('007', '1_000', '12:30', '1,2,3', '1.2.3'),
]
VALUES = {
    **{'3': 3, '-3': -3, '0': 0, '1.5': 1.5, '.5': 0.5, '1.': 1.0, '1e-3': 0.001, 'inf': math.inf},
    **{'True': True, 'false': False, 'None': None, '[]': [], '()': (), '[8,11]': [8, 11]},
    **{'(640, 360)': (640, 360), '(1,)': (1,), '["1", 1]': ['1', 1], '[a=b,]': ['a=b']},
    '[a, b c, "d, e"]': ['a', 'b c', 'd, e'],
    "[driver's cab, x]": ["driver's cab", 'x'],
    '[(1, 2), [x, None], true]': [(1, 2), ['x', None], True],
    **{'"8"': '8', "'None'": 'None', '"(320, 192)"': (320, 192)},
}


@pytest.mark.parametrize(
    ('text', 'value'), [*zip(AS_TYPED, AS_TYPED, strict=True), *VALUES.items()]
)
def test_text_arrives_as_typed_and_numbers_words_and_lists_as_those(text, value):
    found = parse_value(text)
    assert found == value and type(found) is type(value)


def test_pairs_add_up_and_what_is_none_is_one_sentence(capsys):
    parser = argparse.ArgumentParser(prog='p')
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction)
    args = ['--cfg-options', 'a.b=1', 'c= x = y', '--cfg-options', 'd=[1,2]', 'a.b=2']
    assert parser.parse_args(args).cfg_options == {'a.b': 2, 'c': ' x = y', 'd': [1, 2]}
    for text in ('novalue', ' =1'):
        with pytest.raises(SystemExit):
            parser.parse_args(['--cfg-options', text])
        assert f'--cfg-options: {text!r} is no KEY=VALUE' in capsys.readouterr().err
