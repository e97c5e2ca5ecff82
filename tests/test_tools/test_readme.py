"""The README says nothing that the repository does not have: paths, flags, messages, the config."""

import ast
import contextlib
import io
import re
import runpy
import sys
from functools import cache
from pathlib import Path

import pytest
from mmengine.config import Config

REPO = Path(__file__).resolve().parents[2]
PAGES = [
    'README.md',
    'configs/vid/faster_rcnn/README.md',
    'docs/add_a_method.md',
    'docs/own_data.md',
]
TEXT_OF_VALUE = '\0'  # stands for what an f-string fills in


def bash_lines(page: str, section: str = '') -> list[str]:
    """Commands of a page, or of one section of it."""
    text = (REPO / page).read_text().replace('\\\n', ' ')
    if section:
        text = text.split(f'\n## {section}\n')[1].split('\n## ')[0]
    blocks = re.findall(r'```bash\n(.*?)```', text, re.DOTALL)
    lines = [line.split('#')[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


@cache
def help_of(tool: str) -> str:
    """Run in this process: importing torch once is enough."""
    argv, sys.argv = sys.argv, [tool, '--help']
    sys.path.insert(0, str((REPO / tool).parent))  # as Python does for a script
    try:
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
            runpy.run_path(str(REPO / tool), run_name='__main__')
    finally:
        sys.argv = argv
        sys.path.pop(0)
    return out.getvalue()


@cache
def strings_of_the_code() -> list[str]:
    """Every string literal, adjacent ones joined, as the reader will see it."""
    found = []
    files = [path for name in ('mmdet', 'tools', 'demo') for path in (REPO / name).rglob('*.py')]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (getattr(value, 'value', None) for value in node.values)
                found.append(
                    ''.join(part if isinstance(part, str) else TEXT_OF_VALUE for part in parts)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


@pytest.mark.parametrize('page', PAGES)
def test_every_path_exists(page):
    before, *table = (REPO / page).read_text().split('## From 1.x to here')
    rest = re.sub(r'^\|[^|]*\|', '', ''.join(table), flags=re.MULTILINE)  # 1.x had other paths
    text = before + rest
    pattern = r'\b(?:tools|configs|mmdet|tests|demo|\.ci)/[\w./-]*\w'
    paths = set(re.findall(pattern, text))
    assert len(paths) > 1
    missing = sorted(path for path in paths if not (REPO / path).exists())
    assert not missing, f'{page} names {missing}'


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub makes them: letters, digits, hyphens for blanks."""
    headings = re.findall(r'^#+ (.*)$', page.read_text(), re.MULTILINE)
    return {re.sub(r'[^\w -]', '', h.lower()).replace(' ', '-') for h in headings}


@pytest.mark.parametrize('page', PAGES)
def test_every_link_leads_somewhere(page):
    here = REPO / page
    for target in re.findall(r'\]\(([^)\s]+)\)', here.read_text()):
        name, _, anchor = target.partition('#')
        linked = here.parent / name if name else here
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_a_newcomer_finds_the_two_main_jobs_on_the_first_screen():
    first = '\n'.join((REPO / 'README.md').read_text().splitlines()[:25])
    assert 'on my video' in first and 'demo/video_demo.py' in first
    assert 'on my data' in first and 'to_cocovid.py' in first


@pytest.mark.parametrize('page', PAGES)
def test_every_config_in_a_table_exists(page):
    names = re.findall(r'`(\w+\.py)`', (REPO / page).read_text())
    known = {path.name for path in (REPO / 'configs').rglob('*.py')}
    known |= {path.name for path in (REPO / 'tools').rglob('*.py')}
    assert not [name for name in names if name not in known]


@pytest.mark.parametrize('page', PAGES)
def test_every_flag_of_a_shown_command_is_known(page):
    checked = 0
    for line in bash_lines(page):
        for tool in re.findall(r'((?:tools|demo)/[\w/]+\.(?:py|sh))', line):
            kind = 'train' if 'train' in tool else 'test'
            asked = f'tools/{kind}.py' if tool.endswith('.sh') else tool
            for flag in re.findall(r'(?<!\S)(--?[a-z][\w-]*)', line):
                assert re.search(rf'(?<![\w-]){flag}\b', help_of(asked)), f'{line}: {flag}'
                checked += 1
    assert checked >= 1


def test_every_flag_of_the_command_table_is_known():
    text = (REPO / 'README.md').read_text()
    rows = re.findall(r'^\| `((?:tools|demo)/\w+\.py)[^|]*\|(.*)\|$', text, re.M)
    assert {tool for tool, _ in rows} >= {'tools/train.py', 'tools/test.py'}
    for tool, text in rows:
        for flag in re.findall(r'(--[a-z][\w-]*)', text):
            assert flag in help_of(tool), f'{tool} {flag}'


def test_every_message_of_the_troubleshooting_is_in_the_code():
    section = (REPO / 'README.md').read_text().split('## Troubleshooting')[1].split('\n## ')[0]
    rows = [row.split('|')[1] for row in section.splitlines() if row.startswith('| `')]
    messages = [message for row in rows for message in re.findall(r'`([^`]+)`', row)]
    assert len(messages) >= 35
    for message in messages:
        # `...`, N and M stand for what the message fills in
        pieces = [re.escape(p) for p in re.split(r'\.\.\.|\b[NM]\b(?:-1)?', message) if p.strip()]
        pattern = re.compile('.*'.join(pieces), re.DOTALL)
        assert any(pattern.search(text) for text in strings_of_the_code()), message


def test_the_config_for_ones_own_dataset_is_legal(tmp_path):
    from mmengine.registry import init_default_scope

    from mmdet.engine.config_check import check_config

    page = (REPO / 'docs/own_data.md').read_text()
    block = re.search(r'```python\n(_base_.*?)```', page, re.DOTALL)
    base = (REPO / 'configs' / 'vid' / 'faster_rcnn' / 'faster_rcnn_r50_fpn_3x.py').resolve()
    text = block[1].replace('vid/faster_rcnn/faster_rcnn_r50_fpn_3x.py', str(base))
    path = tmp_path / 'my_dataset.py'
    path.write_text(text)
    config = Config.fromfile(str(path))
    init_default_scope('mmdet')
    check_config(config)
    dataset = config.train_dataloader.dataset
    assert dataset.type == 'CocoVideoDataset' and dataset.ann_file == 'data/mine/train.json'
    assert [step.type for step in dataset.pipeline][:2] == ['LoadFrames', 'LoadAnnotations']
    assert config.test_evaluator.ann_file == config.test_dataloader.dataset.ann_file


def test_the_quickstart_shows_the_commands_it_runs():
    text = (REPO / 'tools' / 'quickstart.py').read_text()
    lines = bash_lines('README.md', 'Quickstart')
    tools = {tool for line in lines for tool in re.findall(r'tools/[\w/]+\.py', line)}
    assert len(tools) == 5
    for tool in tools:
        name = Path(tool).stem
        assert name in text or re.sub('_(vid|det)$', '_{subset}', name) in text, tool
