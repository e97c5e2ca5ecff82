"""What the page refuses, at the ASGI layer alone: quick, and without gradio."""

import asyncio
import json
from pathlib import Path

import pytest

pytest.importorskip('starlette', reason='comes with gradio')
from mmdet.programs.app.gate import COOKIE, Gate
from mmdet.programs.app.visitors import AT_ONCE, GRACE_S, IDLE_S, MAX_RUNS, Rates, Visitors

API = '/gradio_api/'
QUEUE = f'{API}queue/data?session_hash=s1'


class Page:
    """A gate around what stands for gradio: that remembers what comes, answers with `answer`."""

    def __init__(self, folder: Path) -> None:
        self.clock, self.seen, self.answer = 0.0, [], b'{}'
        (folder / 'uploads').mkdir()
        self.visitors = Visitors(folder / 'uploads', lambda: self.clock)
        self.gate = Gate(self.gradio, self.visitors, {'localhost', '127.0.0.1'})

    async def gradio(self, scope, receive, send) -> None:
        self.seen.append((await receive()).get('body', b'') if scope['method'] == 'POST' else b'')
        headers = [(b'access-control-allow-origin', b'*'), (b'content-type', b'text/plain')]
        await send({'type': 'http.response.start', 'status': 200, 'headers': headers})
        await send({'type': 'http.response.body', 'body': self.answer})

    def ask(self, path, method='GET', cookie=None, body=b'', host='127.0.0.1:7860', **headers):
        """Status and headers of an answer."""
        headers = {k.replace('_', '-'): v for k, v in headers.items()}
        headers = {'host': host, 'content-length': str(len(body)), **headers}
        if cookie:
            headers['cookie'] = f'{COOKIE}={cookie}'
        scope = dict(type='http', method=method, client=('10.0.0.1', 1))
        scope['path'], _, query = path.partition('?')
        scope['query_string'] = query.encode()
        scope['headers'] = [(k.encode(), v.encode()) for k, v in headers.items() if v is not None]
        sent = []

        async def receive():
            return {'type': 'http.request', 'body': body, 'more_body': False}

        async def send(message):
            sent.append(message)

        asyncio.run(self.gate(scope, receive, send))
        return sent[0]['status'], {k.decode(): v.decode() for k, v in sent[0]['headers']}

    def status(self, *args, **options) -> int:
        """Of an answer. What is refused does not reach gradio."""
        before = len(self.seen)
        status = self.ask(*args, **options)[0]
        assert (len(self.seen) > before) == (status == 200)
        return status

    def visit(self) -> str:
        cookie = self.ask('/')[1]['set-cookie']
        assert 'HttpOnly' in cookie and 'SameSite=Strict' in cookie
        return cookie.split('=')[1].split(';')[0]

    def post(self, cookie, path, body) -> int:
        return self.status(f'{API}{path}', 'POST', cookie, json.dumps(body).encode())

    def join(self, cookie, data, session='s1') -> int:
        return self.post(cookie, 'queue/join', {'data': data, 'session_hash': session})

    def upload(self, cookie: str, content: bytes = b'video') -> Path:
        path = self.visitors.uploads / f'hash{len(content)}/v.mp4'
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        self.answer = json.dumps([str(path)]).encode()
        assert self.status(f'{API}upload', 'POST', cookie, content) == 200
        return path

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


def test_the_page_is_served_under_its_own_names_only(page):
    for host in ('evil.example', 'localhost.evil.example', '', '8.8.8.8', '[::1'):
        assert page.status('/', host=host) == 421
    page.gate.any_address = True  # where the network is served
    assert page.status('/', host='192.168.1.7:7860') == 200
    assert page.status('/', host='evil.example') == 421


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('origin', 'http://evil.example'),
        ('origin', 'null'),
        ('origin', 'http://127.0.0.1.evil.example:7860'),
        ('sec_fetch_site', 'cross-site'),
    ],
)
def test_other_pages_get_no_answer(page, name, value):
    status, headers = page.ask(QUEUE, cookie=page.visit(), **{name: value})
    own = page.ask('/', origin='http://127.0.0.1:7860')[1]
    assert status == 403 and len(page.seen) == 2
    assert not any(name.startswith('access-control') for name in {*headers, *own})
    assert "frame-ancestors 'none'" in own['content-security-policy']


def test_without_a_cookie_only_the_page_itself(page):
    for path in ('/config', '/assets/x.js', '/theme.css'):
        assert page.status(path) == 200
    for path in (QUEUE, '/file=/etc/hosts'):
        assert page.status(path) == page.status(path, cookie='invented') == 403
    assert page.status(f'{API}upload', 'POST', body=b'x') == 403


ROUTES = {
    'GET': f'{API}proxy=http://169.254.169.254/ /monitoring {API}stream/s/1/2/playlist-file',
    'POST': f'{API}run/detect {API}component_server /login {API}vibe-edit',
    'DELETE': f'{API}upload',
    'PUT': '/file=a',
}


@pytest.mark.parametrize('method', ROUTES)
def test_routes_that_the_page_does_not_use(page, method):
    cookie = page.visit()
    for path in ROUTES[method].split():
        assert page.status(path, method, cookie) == 404, path


def test_an_upload_is_of_its_visitor_only(page):
    first, second = page.visit(), page.visit()
    path = page.upload(first)
    assert page.join(second, [None, file_data(path)], session='s2') == 403
    assert page.status(f'{API}file={path}', cookie=second) == 404
    link = page.visitors.uploads / 'link.mp4'
    link.symlink_to('/etc/hostname')
    page.answer = json.dumps([str(link), '/etc/hostname', 5]).encode()
    page.ask(f'{API}upload', 'POST', second, b'x')  # should gradio ever name such a path
    assert page.join(second, [None, file_data(link)], session='s2') == 403
    # an address of another server beside one's own file does not reach gradio
    assert page.join(first, [None, file_data(path, url='http://169.254.169.254/')]) == 200
    assert b'169.254' not in page.seen[-1]


def test_a_session_is_of_its_visitor_only(page):
    first, second = page.visit(), page.visit()
    assert page.join(first, []) == 200
    assert page.join(second, []) == 403
    for path in (QUEUE, f'{API}heartbeat/s1'):
        assert page.status(path, cookie=second) == 403
    assert page.post(second, 'cancel', {'session_hash': 's1', 'event_id': 'e'}) == 403
    for session in (None, '', 'x' * 65):
        assert page.join(second, [], session=session) == 403


def test_results_are_of_their_visitor_only(page):
    first, second = page.visit(), page.visit()
    path = page.finish_run(first)
    link = path.with_name('link.mp4')
    link.symlink_to('/etc/hostname')
    assert page.status(f'{API}file={path}', cookie=first) == 200
    assert page.status(f'{API}file={path}', cookie=second) == 404
    for other in (path.parent, link):
        assert page.status(f'{API}file={other}', cookie=first) == 404
    assert page.join(first, [None, file_data(path)]) == 403  # a result is no upload
    for number in range(MAX_RUNS):
        page.finish_run(first, f'{number}')
    assert page.status(f'{API}file={path}', cookie=first) == 404


def test_requests_and_bodies_have_limits(page, monkeypatch):
    cookie = page.visit()
    deep = b'{"session_hash": "s", "data": ' + b'[' * 500 + b']' * 500 + b'}'
    for body, status in ((b'x' * (2 << 20), 413), (b'{', 400), (deep, 400)):
        assert page.status(f'{API}queue/join', 'POST', cookie, body) == status
    upload = (f'{API}upload', 'POST', cookie, b'12345')
    assert page.status(*upload, content_length=None) == 411
    assert page.status(*upload, content_length=str(3 << 30)) == 413
    monkeypatch.setattr('mmdet.programs.app.visitors.MAX_BYTES', 8)
    page.upload(cookie, content=b'12345')
    assert page.status(*upload) == 413
    monkeypatch.setattr('mmdet.programs.app.gate.KEEP_FREE', 1 << 60)
    assert page.status(f'{API}upload', 'POST', cookie, b'x') == 507
    page.gate.rates = rates = Rates(lambda: page.clock)
    assert {page.status('/config') for _ in range(int(AT_ONCE) + 1)} == {200, 429}
    assert rates.allow('b')
    page.clock += 0.05
    assert page.status('/config') == 200


def test_uploads_and_results_end_with_the_visit(page):
    cookie, other = page.visit(), page.visit()
    mine, shared = page.upload(cookie), page.upload(cookie, content=b'the same')
    assert page.upload(other, content=b'the same') == shared
    removed = []
    page.finish_run(cookie, remove=lambda: removed.append('run'))
    page.ask(f'{API}heartbeat/s1', cookie=cookie)  # a page was open, and is closed
    page.clock += GRACE_S - 1
    page.visitors.sweep()
    assert mine.is_file() and not removed
    page.clock += 2
    page.visitors.sweep()
    assert not mine.exists() and shared.is_file() and removed == ['run']
    assert page.status(f'{API}upload', 'POST', cookie, b'x') == 403
    page.clock += IDLE_S + 1  # the other one never opened a page
    page.visitors.sweep()
    assert list(page.visitors.uploads.iterdir()) == []
