"""Attacks on the real server, over HTTP: nothing of the machine or of other visitors gets out."""

import http.client
import itertools
import json
import uuid
from urllib.parse import urlsplit

import pytest
from tiny_streams import scenes, write_video

pytestmark = pytest.mark.slow


class Client:
    """Speaks HTTP without a browser, which would tidy up paths."""

    def __init__(self, address: str, cookie: str = '') -> None:
        self.netloc, self.cookie = urlsplit(address).netloc, cookie
        self.cookie = cookie or self.ask('/')[1]['set-cookie'].split(';')[0]

    def ask(self, path: str, body: bytes | None = None, **headers) -> tuple[int, dict, bytes]:
        connection = http.client.HTTPConnection(self.netloc, timeout=20)
        headers = {'Cookie': self.cookie, **headers}
        connection.request('GET' if body is None else 'POST', path, body, headers)
        answer = connection.getresponse()
        found = {k.lower(): v for k, v in answer.getheaders()}
        try:
            return answer.status, found, answer.read(1 << 16)
        finally:
            connection.close()

    def post(self, path: str, value: object) -> tuple[int, bytes]:
        kind = {'Content-Type': 'application/json'}
        status, _, answer = self.ask(path, json.dumps(value).encode(), **kind)
        return status, answer

    def upload(self, name: str, content: bytes) -> str:
        head = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + b'\r\n--x--\r\n'
        kind = {'Content-Type': 'multipart/form-data; boundary=x'}
        status, _, answer = self.ask('/gradio_api/upload', body, **kind)
        assert status == 200, answer
        return json.loads(answer)[0]


ESCAPES = '.. %2e%2e %2e. ..%2f.. %252e%252e ..%5c.. .%00. ....// %c0%ae%c0%ae'.split()
FORMS = '/gradio_api/file= /file= /file/ /static/ /assets/ /svelte/ / /gradio_api/proxy='.split()
CLIMBS = [f'{escape}/' * depth for escape in ESCAPES for depth in (1, 8)]


def test_paths_that_climb(app):
    client = Client(app.address)
    for form, climb in itertools.product(FORMS, ['/', *CLIMBS]):
        status, _, body = client.ask(f'{form}{climb}etc/passwd')
        assert b'root:' not in body and status in (400, 403, 404, 405), (form, climb, status)


def test_a_path_in_a_queue_call_is_not_a_video(app, tmp_path):
    """The attack: no upload at all, and a path of the server instead."""
    secret = write_video(tmp_path / 'secret.mp4', scenes(5))  # decodes, or nothing is shown
    client, other = Client(app.address), Client(app.address)
    own = client.upload('own.mp4', b'no video')
    assert own.startswith(str(app.folder / 'tmp'))
    assert client.ask(f'/gradio_api/file={own}')[2] == b'no video'
    assert other.ask(f'/gradio_api/file={own}')[0] == 404
    paths = (str(secret), f'{own}/../../../../..{secret}', '/etc/passwd')
    files = [{'path': p, 'meta': {'_type': 'gradio.FileData'}} for p in paths]
    values = [*paths, *files, *({'path': path} for path in paths)]
    for value, function in itertools.product(values, range(5)):  # all that the page has
        session = uuid.uuid4().hex
        call = {'data': [None, value, 0.3, 'offline'], 'fn_index': function, 'trigger_id': 1}
        call['session_hash'] = session
        _, direct = client.post('/gradio_api/run/predict', call)
        status, queued = client.post('/gradio_api/queue/join', call)
        if status == 200:  # a text instead of a file: gradio or the page refuses it
            queued = client.ask(f'/gradio_api/queue/data?session_hash={session}')[2]
        for body in (direct, queued):
            assert b'vod-frame' not in body and b'_detections' not in body
