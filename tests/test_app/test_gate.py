"""What the page refuses, at the ASGI layer alone: quick, and without gradio."""

import asyncio
import json
from pathlib import Path

import pytest

pytest.importorskip('starlette', reason='comes with gradio')
from mmdet.programs.app.gate import COOKIE, Gate
from mmdet.programs.app.visitors import AT_ONCE, GRACE_S, IDLE_S, MAX_RUNS, Rates, Visitors


class Inner:
    """Stands for gradio: remembers what comes through, answers uploads with a path."""

    def __init__(self) -> None:
        self.seen, self.answer = [], b'{}'

    async def __call__(self, scope, receive, send) -> None:
        body = (await receive()).get('body', b'') if scope['method'] == 'POST' else b''
        self.seen.append((scope['path'], body))
        headers = [(b'access-control-allow-origin', b'*'), (b'content-type', b'text/plain')]
        await send({'type': 'http.response.start', 'status': 200, 'headers': headers})
        await send({'type': 'http.response.body', 'body': self.answer})


class Page:
    def __init__(self, folder: Path) -> None:
        self.clock = 0.0
        (folder / 'uploads').mkdir()
        self.visitors = Visitors(folder / 'uploads', lambda: self.clock)
        self.inner = Inner()
        self.gate = Gate(self.inner, self.visitors, {'localhost', '127.0.0.1'})

    def ask(self, path, method='GET', cookie=None, body=b'', host='127.0.0.1:7860', **headers):
        """(status, headers, body) of an answer."""
        body = json.dumps(body).encode() if isinstance(body, dict | list) else body
        headers = {k.replace('_', '-'): v for k, v in headers.items()}
        headers = {'host': host, 'content-length': str(len(body)), **headers}
        if cookie:
            headers['cookie'] = f'{COOKIE}={cookie}'
        path, _, query = path.partition('?')
        scope = {
            'type': 'http', 'method': method, 'path': path, 'query_string': query.encode(),
            'headers': [(k.encode(), v.encode()) for k, v in headers.items() if v is not None],
            'client': ('10.0.0.1', 1),
        }  # fmt: skip
        sent = []

        async def receive():
            return {'type': 'http.request', 'body': body, 'more_body': False}

        async def send(message):
            sent.append(message)

        asyncio.run(self.gate(scope, receive, send))
        found = {k.decode(): v.decode() for k, v in sent[0]['headers']}
        return sent[0]['status'], found, sent[1]['body']

    def visit(self) -> str:
        cookie = self.ask('/')[1]['set-cookie']
        assert 'HttpOnly' in cookie and 'SameSite=Strict' in cookie
        return cookie.split('=')[1].split(';')[0]

    def upload(self, cookie: str, name: str = 'v.mp4', content: bytes = b'video') -> Path:
        path = self.visitors.uploads / f'hash{len(content)}' / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        self.inner.answer = json.dumps([str(path)]).encode()
        assert self.ask('/gradio_api/upload', 'POST', cookie, content)[0] == 200
        return path

    def join(self, cookie, data, session='s1', **more):
        body = {'data': data, 'session_hash': session, 'fn_index': 0, **more}
        return self.ask('/gradio_api/queue/join', 'POST', cookie, body)[0]

    def finish_run(self, cookie, name='run', remove=lambda: None) -> Path:
        """The mp4 of a run of this visitor."""
        folder = self.visitors.uploads.parent / 'results' / name
        folder.mkdir(parents=True)
        (folder / 'v.mp4').touch()
        self.visitors.add_run(self.visitors.known(cookie), folder, remove)
        return folder / 'v.mp4'


@pytest.fixture
def page(tmp_path):
    return Page(tmp_path)


def file_data(path: object, **more) -> dict:
    return {'path': str(path), 'meta': {'_type': 'gradio.FileData'}, **more}


def test_a_visit(page):
    cookie = page.visit()
    path = page.upload(cookie)
    assert page.join(cookie, [None, file_data(path), 0.3, 'offline']) == 200
    sent = json.loads(page.inner.seen[-1][1])
    assert sent['data'][1] == file_data(path) and sent['session_hash'] == 's1'
    result = page.finish_run(cookie)
    for route in ('queue/data?session_hash=s1', 'heartbeat/s1', f'file={path}', f'file={result}'):
        assert page.ask(f'/gradio_api/{route}', cookie=cookie)[0] == 200


def test_the_page_is_served_under_its_own_names_only(page, tmp_path):
    for host in ('evil.example', 'localhost.evil.example', '', '8.8.8.8', '[::1'):
        assert page.ask('/', host=host)[0] == 421
    assert page.inner.seen == []
    page.gate.any_address = True  # where the network is served
    assert page.ask('/', host='192.168.1.7:7860')[0] == 200
    assert page.ask('/', host='evil.example')[0] == 421


@pytest.mark.parametrize(
    'headers',
    [
        {'origin': 'http://evil.example'},
        {'origin': 'null'},
        {'origin': 'http://127.0.0.1:9999'},
        {'origin': 'http://127.0.0.1.evil.example:7860'},
        {'sec_fetch_site': 'cross-site'},
        {'sec_fetch_site': 'same-site'},
    ],
)
def test_other_pages_get_no_answer(page, headers):
    cookie = page.visit()
    before = len(page.inner.seen)
    status, found, _ = page.ask('/gradio_api/queue/data?session_hash=s', cookie=cookie, **headers)
    assert status == 403 and len(page.inner.seen) == before
    own = page.ask('/', origin='http://127.0.0.1:7860')[1]
    assert not any(name.startswith('access-control') for name in {*found, *own})
    assert "frame-ancestors 'none'" in own['content-security-policy']


def test_without_a_cookie_only_the_page_itself(page):
    for path in ('/config', '/assets/x.js', '/static/x.css', '/theme.css'):
        assert page.ask(path)[0] == 200
    for path in ('/gradio_api/queue/data?session_hash=s', '/file=/etc/hosts'):
        assert page.ask(path)[0] == 403
        assert page.ask(path, cookie='invented')[0] == 403
    assert page.ask('/gradio_api/upload', 'POST', body=b'x')[0] == 403


ROUTES = [
    ('GET', '/gradio_api/proxy=http://169.254.169.254/'), ('GET', '/proxy=http://x/'),
    ('POST', '/gradio_api/run/detect'), ('POST', '/gradio_api/call/detect'),
    ('POST', '/gradio_api/component_server'), ('GET', '/monitoring'), ('POST', '/login'),
    ('GET', '/gradio_api/stream/s/1/2/playlist-file'), ('GET', '/openapi.json'), ('GET', '/docs'),
    ('DELETE', '/gradio_api/upload'), ('PUT', '/file=a'), ('OPTIONS', '/gradio_api/upload'),
    ('POST', '/gradio_api/vibe-edit'), ('GET', '/gradio_api/deep_link'), ('TRACE', '/'),
    ('GET', '/results/'), ('GET', '/gradio_api/file'), ('GET', '/assets'),
    ('POST', '/gradio_api/process_recording'), ('GET', '/gradio_api/custom_component/1/2/3/4'),
]  # fmt: skip


@pytest.mark.parametrize(('method', 'path'), ROUTES)
def test_routes_that_the_page_does_not_use(page, method, path):
    cookie = page.visit()
    before = len(page.inner.seen)
    assert page.ask(path, method, cookie)[0] == 404 and len(page.inner.seen) == before


FOREIGN = ['/etc/passwd', '../../etc/passwd', 'file:///etc/passwd', '', None, 7, [], 'x\0y']


@pytest.mark.parametrize('given', FOREIGN)
def test_files_that_were_not_uploaded(page, given):
    cookie = page.visit()
    page.upload(cookie)
    before = len(page.inner.seen)
    for data in (
        [None, {'path': given}],
        [None, {'path': given, 'meta': {'_type': 'gradio.FileData'}}],
        [{'deep': [{'path': given}]}],
        [{'url': 'http://169.254.169.254/', 'path': given}],
    ):
        assert page.join(cookie, data) == 403
    assert len(page.inner.seen) == before


def test_an_upload_is_of_its_visitor_only(page, tmp_path):
    first, second = page.visit(), page.visit()
    path = page.upload(first)
    assert page.join(second, [None, file_data(path)], session='s2') == 403
    assert page.ask(f'/gradio_api/file={path}', cookie=second)[0] == 404
    link = page.visitors.uploads / 'link.mp4'
    link.symlink_to('/etc/hostname')
    page.inner.answer = json.dumps([str(link), '/etc/hostname', '../x', 5, None]).encode()
    page.ask('/gradio_api/upload', 'POST', second, b'x')  # should gradio ever name such a path
    assert page.join(second, [None, file_data(link)], session='s2') == 403
    # an address of another server beside one's own file does not reach gradio
    assert page.join(first, [None, file_data(path, url='http://169.254.169.254/')]) == 200
    assert b'169.254' not in page.inner.seen[-1][1]


def test_a_session_is_of_its_visitor_only(page):
    first, second = page.visit(), page.visit()
    assert page.join(first, []) == 200
    assert page.join(second, []) == 403
    assert page.ask('/gradio_api/queue/data?session_hash=s1', cookie=second)[0] == 403
    assert page.ask('/gradio_api/heartbeat/s1', cookie=second)[0] == 403
    body = {'session_hash': 's1', 'event_id': 'e', 'fn_index': 0}
    assert page.ask('/gradio_api/cancel', 'POST', second, body)[0] == 403
    page.clock += IDLE_S + 1
    page.visitors.known(first)
    page.visitors.sweep()  # the second one is gone, and takes nothing of the first one's with him
    assert page.join(page.visit(), []) == 403
    second = page.visit()
    for session in (None, '', 7, 'x' * 65):
        assert page.join(second, [], session=session) == 403


def test_results_are_of_their_visitor_only(page):
    first, second = page.visit(), page.visit()
    path = page.finish_run(first)
    (path.with_name('link.mp4')).symlink_to('/etc/hostname')
    assert page.ask(f'/gradio_api/file={path}', cookie=first)[0] == 200
    assert page.ask(f'/gradio_api/file={path}', cookie=second)[0] == 404
    for other in (path.parent, path.parents[1] / 'other/v.mp4', path.with_name('link.mp4')):
        assert page.ask(f'/gradio_api/file={other}', cookie=first)[0] == 404
    assert page.join(first, [None, file_data(path)]) == 403  # a result is no upload
    removed = []
    for number in range(MAX_RUNS):
        page.finish_run(first, f'{number}', lambda: removed.append(0))
    assert removed == [] and page.ask(f'/gradio_api/file={path}', cookie=first)[0] == 404


def test_bodies_have_limits(page, monkeypatch):
    cookie = page.visit()
    assert page.ask('/gradio_api/queue/join', 'POST', cookie, b'x' * (2 << 20))[0] == 413
    assert page.ask('/gradio_api/queue/join', 'POST', cookie, b'{')[0] == 400
    assert page.ask('/gradio_api/queue/join', 'POST', cookie, b'[' * 10_000)[0] == 400
    deep = '[' * 500 + ']' * 500
    body = b'{"session_hash": "s", "data": ' + deep.encode() + b'}'
    assert page.ask('/gradio_api/queue/join', 'POST', cookie, body)[0] == 400
    upload = ('/gradio_api/upload', 'POST', cookie, b'x')
    assert page.ask(*upload, content_length=None)[0] == 411
    assert page.ask(*upload, content_length=str(3 << 30))[0] == 413
    monkeypatch.setattr('mmdet.programs.app.visitors.MAX_BYTES', 8)
    page.upload(cookie, content=b'12345')
    assert page.ask('/gradio_api/upload', 'POST', cookie, b'12345')[0] == 413
    monkeypatch.setattr('mmdet.programs.app.gate.KEEP_FREE', 1 << 60)
    assert page.ask(*upload)[0] == 507


def test_uploads_and_results_end_with_the_visit(page):
    cookie, other = page.visit(), page.visit()
    mine, shared = page.upload(cookie), page.upload(cookie, content=b'the same')
    assert page.upload(other, content=b'the same') == shared
    removed = []
    page.finish_run(cookie, remove=lambda: removed.append('run'))
    page.ask('/gradio_api/heartbeat/s1', cookie=cookie)  # a page was open, and is closed
    page.clock += GRACE_S - 1
    page.visitors.sweep()
    assert mine.is_file() and not removed
    page.clock += 2
    page.visitors.sweep()
    assert not mine.exists() and shared.is_file() and removed == ['run']
    assert page.ask('/gradio_api/upload', 'POST', cookie, b'x')[0] == 403
    page.clock += IDLE_S + 1  # the other one never opened a page
    page.visitors.sweep()
    assert not shared.exists() and list(page.visitors.uploads.iterdir()) == []


def test_too_many_requests(page):
    rates = Rates(lambda: page.clock)
    assert all(rates.allow('a') for _ in range(int(AT_ONCE))) and not rates.allow('a')
    assert rates.allow('b')
    page.clock += 0.05
    assert rates.allow('a') and not all(rates.allow('a') for _ in range(5))
    page.gate.rates = Rates(lambda: page.clock)
    answers = {page.ask('/config')[0] for _ in range(int(AT_ONCE) + 1)}
    assert answers == {200, 429}
