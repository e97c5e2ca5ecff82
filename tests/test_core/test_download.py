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


@pytest.fixture
def server(tmp_path):
    """Its address, what a file has, and the paths that were asked for: any file but `absent`."""
    torch.save({'state_dict': {'w': torch.arange(5.0)}}, tmp_path / 'served')
    body, asked = (tmp_path / 'served').read_bytes(), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if 'absent' in self.path:
                return self.send_error(404)
            self.send_response(200)
            self.send_header('Content-Length', str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if 'cut' in self.path else body)

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{httpd.server_port}', body, asked
        httpd.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    return tmp_path / 'hub/checkpoints'


def test_an_address_is_fetched_once(server, cache):
    name = f'model-{hashlib.sha256(server[1]).hexdigest()[:8]}.pth'
    for _ in range(2):
        loaded = load_checkpoint_file(f'{server[0]}/a/{name}?download=true')
        assert torch.equal(loaded['state_dict']['w'], torch.arange(5.0))
    assert len(server[2]) == 1 and list(cache.iterdir()) == [cache / name]


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('wrong-0123abcd.pth', r'SHA-256.*promises 0123abcd'),
        ('cut.pth', r'ended after \d+ of \d+ bytes'),
        ('absent.pth', 'answered 404'),
    ],
)
def test_what_is_not_whole_or_another_file_leaves_nothing(server, cache, name, said):
    with pytest.raises(DownloadError, match=said):
        fetch(f'{server[0]}/{name}')
    assert not any(path.is_file() for path in cache.rglob('*'))


def test_no_connection_says_what_to_do():
    url = 'http://127.0.0.1:9/model.pth'
    with pytest.raises(DownloadError, match='Without internet') as caught:
        fetch(url)
    place = Path(str(caught.value).split('put it at ')[1].rstrip('.'))
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b'weights')
    assert fetch(url) == place
