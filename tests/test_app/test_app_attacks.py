"""Attacks on the real server, over HTTP: nothing of the machine or of other visitors gets out."""

import http.client
import json
import uuid
from urllib.parse import urlsplit

import pytest
from tiny_streams import scenes, write_video

pytestmark = pytest.mark.slow

HOST = b'root:'  # in /etc/passwd


class Client:
    """Speaks HTTP without a browser, which would tidy up paths."""

    def __init__(self, address: str, cookie: str = '') -> None:
        self.netloc, self.cookie = urlsplit(address).netloc, cookie
        if not cookie:
            found = self.ask('GET', '/')[1].get('set-cookie', '')
            self.cookie = found.split(';')[0]

    def ask(self, method: str, path: str, body: bytes = b'', **headers) -> tuple[int, dict, bytes]:
        connection = http.client.HTTPConnection(self.netloc, timeout=20)
        headers = {k.replace('_', '-'): v for k, v in headers.items()}
        if self.cookie:
            headers['Cookie'] = self.cookie
        connection.putrequest(method, path, skip_host='Host' in headers)
        headers.setdefault('Content-Length', str(len(body)))
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        found = {k.lower(): v for k, v in answer.getheaders()}
        try:
            return answer.status, found, answer.read(1 << 16)
        finally:
            connection.close()

    def post(self, path: str, value: object) -> tuple[int, dict, bytes]:
        return self.ask('POST', path, json.dumps(value).encode(), Content_Type='application/json')

    def upload(self, name: str, content: bytes) -> str:
        border = uuid.uuid4().hex
        disposition = f'form-data; name="files"; filename="{name}"'
        head = f'--{border}\r\nContent-Disposition: {disposition}\r\n\r\n'.encode()
        body = head + content + f'\r\n--{border}--\r\n'.encode()
        kind = f'multipart/form-data; boundary={border}'
        status, _, answer = self.ask('POST', '/gradio_api/upload', body, Content_Type=kind)
        assert status == 200, answer
        return json.loads(answer)[0]


ESCAPES = [
    '..', '%2e%2e', '%2e.', '..%2f..', '%252e%252e', '..%5c..', '.%00.', '....//', '%c0%ae%c0%ae',
]  # fmt: skip
FORMS = [
    '/gradio_api/file={}etc/passwd', '/file={}etc/passwd', '/file/{}etc/passwd',
    '/static/{}etc/passwd', '/assets/{}etc/passwd',
    '/svelte/{}etc/passwd', '/{}etc/passwd', '/gradio_api/proxy={}etc/passwd',
]  # fmt: skip


def test_paths_that_climb(app):
    client = Client(app.address)
    tried = 0
    for form in FORMS:
        for escape in ESCAPES:
            for depth in (1, 3, 8):
                status, _, body = client.ask('GET', form.format(f'{escape}/' * depth))
                assert HOST not in body and status in (400, 403, 404, 405), (form, escape, status)
                tried += 1
        status, _, body = client.ask('GET', form.format('/'))
        assert HOST not in body and status in (400, 403, 404)
    assert tried == 216


def test_a_path_in_a_queue_call_is_not_a_video(app, tmp_path):
    """The attack: no upload at all, and a path of the server instead."""
    secret = write_video(tmp_path / 'secret.mp4', scenes(5))  # decodes, or nothing is shown
    client = Client(app.address)
    own = client.upload('own.mp4', b'no video')
    assert own.startswith(str(app.folder / 'tmp'))
    for given in (str(secret), f'{own}/../../../../..{secret}', '/etc/passwd'):
        for value in (
            given,
            {'path': given},
            {'path': given, 'meta': {'_type': 'gradio.FileData'}},
        ):
            for function in range(5):  # all that the page has
                session = uuid.uuid4().hex
                call = {
                    'data': [None, value, 0.3, 'offline'], 'fn_index': function,
                    'session_hash': session, 'trigger_id': 1,
                }  # fmt: skip
                _, _, direct = client.post('/gradio_api/run/predict', call)
                assert b'vod-frame' not in direct and b'_detections' not in direct
                status, _, body = client.post('/gradio_api/queue/join', call)
                if status == 200:  # a text instead of a file: gradio or the page refuses it
                    stream = f'/gradio_api/queue/data?session_hash={session}'
                    _, _, body = client.ask('GET', stream)
                assert b'vod-frame' not in body and b'_detections' not in body


def test_what_another_visitor_has(app):
    first, second = Client(app.address), Client(app.address)
    path = first.upload('mine.mp4', b'mine alone')
    assert first.ask('GET', f'/gradio_api/file={path}')[2] == b'mine alone'
    assert second.ask('GET', f'/gradio_api/file={path}')[0] == 404
    file = {'path': path, 'meta': {'_type': 'gradio.FileData'}}
    call = {'data': [None, file, 0.3, 'offline'], 'fn_index': 0, 'session_hash': 'theirs'}
    assert second.post('/gradio_api/queue/join', call)[0] == 403


def test_the_gate_is_before_the_page(app):
    """What it refuses in all is in test_gate.py."""
    client, nobody = Client(app.address), Client(app.address, cookie='vod_visitor=invented')
    port = urlsplit(app.address).port
    assert client.ask('GET', '/', Host=f'rebound.example:{port}')[0] == 421
    assert client.ask('GET', '/', Host=f'localhost:{port}')[0] == 200
    status, headers, _ = client.ask('GET', '/config', Origin='http://evil.example')
    assert status == 403 and 'access-control-allow-origin' not in headers
    status, headers, _ = client.ask('GET', '/config', Origin=app.address)
    assert status == 200 and 'access-control-allow-credentials' not in headers
    for path in ('/gradio_api/queue/data?session_hash=a', '/file=/etc/passwd'):
        assert nobody.ask('GET', path)[0] == 403
    policy = Client(app.address).ask('GET', '/')[1]['content-security-policy']
    assert "default-src 'self'" in policy and 'http' not in policy
