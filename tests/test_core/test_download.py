"""Checkpoints from http addresses, served by this machine."""

import hashlib
import http.server
import threading
from pathlib import Path

import pytest
import torch

from mmdet.core.checkpoint_file import load_checkpoint_file
from mmdet.core.download import fetch
from mmdet.core.errors import DownloadError


class Handler(http.server.BaseHTTPRequestHandler):
    files: dict[str, bytes]
    asked: list[str]

    def do_GET(self):
        self.asked.append(self.path)
        name = self.path.split('?')[0].rsplit('/', 1)[-1]
        body = self.files.get(name)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if name.startswith('cut') else body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    torch.save({'state_dict': {'w': torch.arange(5.0)}}, tmp_path / 'served')
    body = (tmp_path / 'served').read_bytes()
    prefix = hashlib.sha256(body).hexdigest()[:8]
    files = {
        f'model-{prefix}.pth': body,
        'wrong-0123abcd.pth': body,
        'plain.pth': body,
        'cut.pth': body,
        'cut-0123abcd.pth': body,
    }
    handler = type('H', (Handler,), {'files': files, 'asked': []})
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{httpd.server_port}', handler.asked, prefix
        httpd.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    return tmp_path / 'hub' / 'checkpoints'


def left_in(cache):
    return [p for p in cache.rglob('*') if p.is_file()]


def test_an_address_is_fetched_once(server, cache):
    address, asked, prefix = server
    for _ in range(2):
        loaded = load_checkpoint_file(f'{address}/a/model-{prefix}.pth?download=true')
        assert torch.equal(loaded['state_dict']['w'], torch.arange(5.0))
    assert len(asked) == 1
    assert left_in(cache) == [cache / f'model-{prefix}.pth']


def test_another_hash_than_promised_is_refused(server, cache):
    with pytest.raises(DownloadError, match=r'SHA-256.*promises 0123abcd'):
        fetch(f'{server[0]}/wrong-0123abcd.pth')
    assert left_in(cache) == []


@pytest.mark.parametrize('name', ['cut.pth', 'cut-0123abcd.pth'])
def test_a_cut_connection_leaves_nothing(server, cache, name):
    with pytest.raises(DownloadError, match=r'ended after \d+ of \d+ bytes'):
        fetch(f'{server[0]}/{name}')
    assert left_in(cache) == []


def test_files_of_one_name_from_two_addresses_are_kept_apart(server):
    address = server[0]
    assert fetch(f'{address}/a/plain.pth') != fetch(f'{address}/b/plain.pth')


def test_an_error_status_is_told(server):
    with pytest.raises(DownloadError, match='answered 404'):
        fetch(f'{server[0]}/absent.pth')


def test_no_connection_says_what_to_do(tmp_path):
    url = 'http://127.0.0.1:9/model.pth'
    with pytest.raises(DownloadError, match='Without internet') as caught:
        fetch(url, tmp_path)
    place = Path(str(caught.value).split('put it at ')[1].rstrip('.'))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b'weights')
    assert fetch(url, tmp_path) == place
