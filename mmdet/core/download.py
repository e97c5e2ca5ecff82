"""Fetching a checkpoint from an http(s) address once, into torch's cache.

`torch.hub.download_url_to_file` keeps a file whose connection was cut as a whole one, when its name
promises no hash.
"""

import hashlib
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import torch
from rich.progress import wrap_file

from mmdet.core.errors import DownloadError
from mmdet.core.fileio import atomic_write

TIMEOUT_S = 60
CHUNK = 1 << 20
HASH_IN_NAME = re.compile(r'-([0-9a-f]{8,64})\.[A-Za-z]+$')


def is_url(path: str | os.PathLike) -> bool:
    return str(path).startswith(('http://', 'https://'))


def fetch(url: str) -> Path:
    """The local copy of an http(s) address, downloaded when it is not in torch's cache yet.

    A name that ends in `-<8 or more hex digits>.pth` promises the SHA-256 of the file; it is
    checked. Names without one are kept apart by address. The file appears whole or not at all.
    """
    name = Path(urllib.parse.urlparse(url).path).name or 'download'
    folder = Path(torch.hub.get_dir(), 'checkpoints')
    promised = HASH_IN_NAME.search(name)
    if not promised:
        folder /= hashlib.sha256(url.encode()).hexdigest()[:12]
    target = folder / name
    if not target.exists():
        _download(url, target, promised.group(1) if promised else '')
    return target


def _download(url: str, target: Path, promised: str) -> None:
    digest = hashlib.sha256()
    try:
        with (
            urllib.request.urlopen(url, timeout=TIMEOUT_S) as response,
            atomic_write(target, 'wb') as file,
        ):
            size = int(response.headers.get('Content-Length') or 0)
            with wrap_file(response, size, description=f'Downloading {target.name}') as body:
                while chunk := body.read(CHUNK):
                    file.write(chunk)
                    digest.update(chunk)
            if size and file.tell() != size:
                raise DownloadError(
                    f'{url} ended after {file.tell()} of {size} bytes. Nothing was kept; try again.'
                )
            if not digest.hexdigest().startswith(promised):
                raise DownloadError(
                    f'{url} has SHA-256 {digest.hexdigest()[:16]}..., but its name promises '
                    f'{promised}. The file was changed or damaged on its way; nothing was kept.'
                )
    except urllib.error.HTTPError as error:
        raise DownloadError(f'{url} answered {error.code} {error.reason}.') from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, 'reason', error)
        raise DownloadError(
            f'Cannot reach {url}: {reason}. Without internet, download it elsewhere and give the '
            f'path of the file, or put it at {target}.'
        ) from error
