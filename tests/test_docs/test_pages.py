"""The pages name nothing that the repository does not have: paths, links, flags."""

import contextlib
import io
import re
import runpy
import sys
from functools import cache
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PAGES = [
    str(path.relative_to(REPO))
    for pattern in ('*.md', 'docs/*.md', 'configs/**/README.md')
    for path in REPO.glob(pattern)
    if path.name != 'CHANGELOG.md'  # names what was there once
]


def text_of(page: str) -> str:
    return (REPO / page).read_text()


@cache
def help_of(tool: str, *words: str) -> str:
    """Run in this process: importing torch once is enough."""
    with pytest.MonkeyPatch.context() as patch, io.StringIO() as out:
        patch.setattr(sys, 'argv', [tool, *words, '--help'])
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            runpy.run_path(str(REPO / tool), run_name='__main__')
        return out.getvalue()


def is_flag_of(flag: str, text: str) -> bool:
    return re.search(rf'(?<![\w-]){flag}\b', text) is not None


@pytest.mark.parametrize('page', PAGES)
def test_every_path_and_link_leads_somewhere(page):
    text = text_of(page)
    for target in re.findall(r'\]\(([^)\s]+)\)', text):
        name, _, anchor = target.partition('#')
        linked = (REPO / page).parent / name if name else REPO / page
        assert linked.exists(), target
        headings = re.findall(r'^#+ (.*)$', linked.read_text(), re.MULTILINE) if anchor else ()
        anchors = [re.sub(r'[^\w -]', '', h.lower()).replace(' ', '-') for h in headings]
        assert not anchor or anchor in anchors, target
    if page == 'docs/from_1x.md':  # the first column holds paths of 1.x
        text = re.sub(r'^\|[^|]*\|', '', text, flags=re.MULTILINE)
    text = re.sub(r'\(\S*\)', '', text)
    paths = re.findall(r'(?<![\w/.-])(?:tools|configs|mmdet|tests|demo|docs|\.ci)/[\w./-]*\w', text)
    assert not [path for path in paths if not (REPO / path).exists()]
    names = {path.name for path in REPO.rglob('*.py') if '.venv' not in path.parts}
    bare = r'(\w+\.py)\b' if page == 'docs/architecture.md' else r'`(\w+\.py)`'
    assert not [name for name in re.findall(bare, text) if name not in names]


@pytest.mark.parametrize('page', PAGES)
def test_every_flag_of_a_shown_command_is_known(page):
    blocks = re.findall(r'```bash\n(.*?)```', text_of(page).replace('\\\n', ' '), re.DOTALL)
    lines = [re.sub(r'(^|\s)#.*', '', line) for block in blocks for line in block.splitlines()]
    if page == 'docs/commands.md':
        lines += re.findall(r'^\| (`(?:tools|demo)/.*)\|$', text_of(page), re.MULTILINE)
        assert len(lines) > 10
    for tool, rest in re.findall(r'((?:tools|demo)/[\w/]+\.(?:py|sh))(.*)', '\n'.join(lines)):
        kind = 'train' if 'train' in tool else 'test'
        asked = f'tools/{kind}.py' if tool.endswith('.sh') else tool
        part = re.findall(r'^ [a-z]+', rest) if tool == 'tools/benchmark.py' else []
        for flag in re.findall(r'(?<!\S)`?(--?[a-z][\w-]*)', rest):
            assert is_flag_of(flag, help_of(asked, *map(str.strip, part))), f'{tool}: {flag}'
