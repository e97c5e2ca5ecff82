"""What differs between two configs, against pairs written by hand."""

import pytest
from mmengine import Config

from mmdet.engine.config_load import load_config
from mmdet.programs.compare.config_diff import differences


def diff(old, new):
    return [f'{key}: {a} -> {b}' for key, a, b in differences(Config(old), Config(new))]


@pytest.mark.parametrize(
    ('old', 'new', 'lines'),
    [
        (dict(a=dict(b=1, c='x')), dict(a=dict(b=1, c='y')), ["a.c: 'x' -> 'y'"]),
        (dict(a=(1, 2)), dict(a=(1, 3)), ['a: (1, 2) -> (1, 3)']),
        (dict(a=1), dict(a=True), ['a: 1 -> True']),
        (dict(a=None), dict(a=dict(b=1)), ["a: None -> {'b': 1}"]),
        (dict(a=dict()), dict(a=dict(b=1)), ['a.b: absent -> 1']),
        (dict(a=dict(b=1, c=dict(d=2))), dict(), ['a.b: 1 -> absent', 'a.c.d: 2 -> absent']),
        (dict(p=[dict(t='A')]), dict(p=[dict(t='A'), dict(t='B')]), ["p.1.t: absent -> 'B'"]),
        (dict(p=[dict(t='A', s=1)]), dict(p=[dict(t='A', s=2)]), ['p.0.s: 1 -> 2']),
        (dict(b=1, a=2), dict(a=2, b=1), []),
        (dict(a=dict()), dict(), ['a: {} -> absent']),
    ],
)
def test_lines(old, new, lines):
    assert diff(old, new) == lines


def test_a_default_work_dir_is_no_difference_and_a_chosen_one_is(tmp_path):
    for name in 'ab':
        (tmp_path / f'{name}.py').write_text('x = 1\n')
    first, second = (load_config(tmp_path / f'{name}.py') for name in 'ab')
    assert first.work_dir != second.work_dir
    assert differences(first, second) == []
    chosen = load_config(tmp_path / 'b.py', work_dir='elsewhere')
    assert [key for key, _, _ in differences(first, chosen)] == ['work_dir']
