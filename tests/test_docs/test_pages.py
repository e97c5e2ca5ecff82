"""The pages name nothing that the repository does not have: paths, links, flags, messages."""

import ast
import contextlib
import io
import re
import runpy
import sys
from functools import cache
from pathlib import Path

import pytest

from mmdet.programs.commands.vfe import VERBS

REPO = Path(__file__).resolve().parents[2]
PAGES = sorted(
    str(path.relative_to(REPO))
    for pattern in ('*.md', 'docs/*.md', 'configs/**/README.md')
    for path in REPO.glob(pattern)
    if path.name != 'CHANGELOG.md'  # names what was there once
)
COMMANDS = [
    str(path.relative_to(REPO))
    for folder in ('tools', 'demo')
    for path in (REPO / folder).rglob('*.py')
    if re.search(r'ArgumentParser\(|programs.commands', path.read_text())
]
EXPLAINED = ['docs/troubleshooting.md', 'docs/own_data.md', 'docs/inference.md']
PLACEHOLDER = '\0'  # stands for what an f-string fills in


def text_of(page: str) -> str:
    return (REPO / page).read_text()


def commands(page: str) -> list[str]:
    """The lines of the page's bash blocks, without comments, continued lines joined."""
    text = text_of(page).replace('\\\n', ' ')
    blocks = re.findall(r'```bash\n(.*?)```', text, re.DOTALL)
    lines = [re.sub(r'(^|\s)#.*', '', line).strip() for b in blocks for line in b.splitlines()]
    return [line for line in lines if line]


@cache
def help_of(tool: str, *words: str) -> str:
    """Run in this process: importing torch once is enough."""
    argv, sys.argv = sys.argv, [tool, *words, '--help']
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
    for path in (p for name in ('mmdet', 'tools', 'demo') for p in (REPO / name).rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = [getattr(value, 'value', None) for value in node.values]
                found.append(''.join(p if isinstance(p, str) else PLACEHOLDER for p in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return found


@pytest.mark.parametrize('page', PAGES)
def test_every_path_exists(page):
    text = text_of(page)
    if page == 'docs/from_1x.md':  # the first column holds paths of 1.x
        text = re.sub(r'^\|[^|]*\|', '', text, flags=re.MULTILINE)
    text = re.sub(r'\(\S*\)', '', text)  # links have their own test
    paths = re.findall(r'(?<![\w/.-])(?:tools|configs|mmdet|tests|demo|docs|\.ci)/[\w./-]*\w', text)
    assert not [path for path in paths if not (REPO / path).exists()]
    names = {path.name for path in REPO.rglob('*.py') if '.venv' not in path.parts}
    bare = r'(\w+\.py)\b' if page == 'docs/architecture.md' else r'`(\w+\.py)`'
    assert not [name for name in re.findall(bare, text) if name not in names]


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


def test_every_experiment_is_on_a_page():
    text = ''.join(text_of(page) for page in PAGES if page.startswith('configs/'))
    names = [
        path.name for room in ('vid', 'sample') for path in REPO.glob(f'configs/{room}/**/*.py')
    ]
    assert names and not [name for name in names if f'`{name}`' not in text]


def test_the_readme_leads_to_every_page():
    linked = set(re.findall(r'\]\((docs/\w+\.md)\)', text_of('README.md')))
    assert linked == {page for page in PAGES if page.startswith('docs/')}


@pytest.mark.parametrize('page', [page for page in PAGES if commands(page)])
def test_every_flag_of_a_shown_command_is_known(page):
    for line in commands(page):
        for tool, rest in re.findall(r'((?:tools|demo)/[\w/]+\.(?:py|sh))(.*)', line):
            kind = 'train' if 'train' in tool else 'test'
            asked = f'tools/{kind}.py' if tool.endswith('.sh') else tool
            part = rest.split()[:1] if tool == 'tools/benchmark.py' else []
            for flag in re.findall(r'(?<!\S)(--?[a-z][\w-]*)', rest):
                assert re.search(rf'(?<![\w-]){flag}\b', help_of(asked, *part)), f'{line}: {flag}'


def test_every_verb_of_vfe_is_named():
    named = re.findall(r'`vfe (\w+)`', text_of('docs/commands.md'))
    assert sorted(named) == sorted(VERBS)


def test_every_flag_of_the_command_tables_is_known():
    pattern = r'^\| `((?:tools|demo)/[\w/]+\.py)[^|]*\|(.*)\|$'
    rows = re.findall(pattern, text_of('docs/commands.md'), re.MULTILINE)
    assert {tool for tool, _ in rows} >= {'tools/train.py', 'tools/test.py'}
    for tool, text in rows:
        for flag in re.findall(r'(--[a-z][\w-]*)', text):
            assert flag in help_of(tool), f'{tool} {flag}'


@pytest.mark.parametrize('page', PAGES)
def test_every_flag_in_the_text_is_one_of_some_command(page):
    if page == 'docs/from_1x.md':
        pytest.skip('names flags of 1.x')
    text = re.sub(r'`(?:pip|python -m pip|make|ssh) [^`]*`', '', text_of(page))
    flags = set(re.findall(r'(?<![\w-])--[a-z][\w-]*', text))
    known = ''.join(map(help_of, COMMANDS)) if flags else ''
    assert not [flag for flag in flags if not re.search(rf'(?<![\w-]){flag}\b', known)]


@pytest.mark.parametrize('page', EXPLAINED)
def test_every_message_that_is_explained_is_in_the_code(page):
    rows = re.findall(r'^\| (`[^|]+) \|', text_of(page).split('| message |', 1)[1], re.MULTILINE)
    messages = [message for row in rows for message in re.findall(r'`([^`]+)`', row)]
    assert len(messages) >= 10
    for message in messages:
        # `...`, N and M stand for what the message fills in
        pieces = [re.escape(p) for p in re.split(r'\.\.\.|\b[NM]\b(?:-1)?', message) if p.strip()]
        pattern = re.compile('.*'.join(pieces), re.DOTALL)
        assert any(pattern.search(text) for text in strings_of_the_code()), message


def test_the_quickstart_shows_the_commands_it_runs():
    text = text_of('mmdet/programs/quickstart.py')
    shown = text_of('README.md').split('## See it work')[1].split('\n## ')[0]
    tools = set(re.findall(r'python (tools/[\w/]+\.py)', shown))
    assert len(tools) == 5
    for tool in tools:
        name = Path(tool).stem
        assert name in text or re.sub('_(vid|det)$', '_{subset}', name) in text, tool
