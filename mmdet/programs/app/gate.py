"""What a request must be before gradio sees it: a pure ASGI layer around the whole page.

A visitor gets a cookie with the page. Everything that is not part of the page itself needs the
cookie, comes from the page's own origin, is on the list of routes that the page uses, and touches
only what the visitor has uploaded or started. gradio itself knows no visitors: it serves any file
of its cache to everyone.
"""

import ipaddress
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from mmdet.programs.app.visitors import Rates, Visitor, Visitors

COOKIE = 'vod_visitor'
MAX_UPLOAD = 2 << 30  # bytes of one request
MAX_BODY = 1 << 20  # of any other
KEEP_FREE = 1 << 30  # on the disk
# A browser refuses whatever is not from the page's own host, should a part of gradio ask for it.
HEADERS = {
    'content-security-policy': "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "object-src 'none'; form-action 'self'; frame-ancestors 'none'",
    'referrer-policy': 'same-origin',
    'x-content-type-options': 'nosniff',
    'cross-origin-resource-policy': 'same-origin',
}
OPEN = re.compile(  # the page itself: the same for everyone
    r'/|/(config|theme\.css|favicon\.ico|manifest\.json)/?|/(assets|static|svelte)/.+|/gradio_api/(config|info|app_id)/?'
)
OWN_GET = re.compile(
    r'/gradio_api/(startup-events|upload_progress|queue/data|heartbeat/[^/]+)'
    r'|/(gradio_api/)?file=.+'
)
OWN_POST = re.compile(r'/gradio_api/(upload|queue/join|run/predict|cancel|reset)/?')
FILE_KEYS = ('path', 'orig_name', 'size', 'mime_type', 'meta')  # of a file in a request


class Gate:
    """The ASGI layer around `app`.

    `names` are the hosts by which the page is called; with `any_address`, the page is served to the
    network, and any address of numbers is one, too.
    """

    def __init__(
        self, app, visitors: Visitors, names: Iterable[str], any_address: bool = False
    ) -> None:
        self.app, self.visitors = app, visitors
        self.names, self.any_address = {name.lower() for name in names}, any_address
        self.rates = Rates()

    async def __call__(self, scope, receive, send) -> None:
        if scope['type'] == 'lifespan':
            await self.app(scope, receive, send)
        elif scope['type'] == 'http':
            try:
                await self._http(Request(scope, receive), send)
            except HTTPException as refused:
                answer = JSONResponse({'detail': refused.detail}, refused.status_code, HEADERS)
                await answer(scope, receive, send)
            except ClientDisconnect:
                pass
        else:  # the page uses no web sockets
            await send({'type': 'websocket.close', 'code': 1008})

    async def _http(self, request: Request, send) -> None:
        visitor, fresh = self._admit(request)
        scope, receive, path = request.scope, request.receive, request.scope['path']
        send = _answering(send, visitor.token if fresh else None)
        if path.startswith('/gradio_api/upload') and request.method == 'POST':
            await self.app(scope, receive, self._watched_upload(request, visitor, send))
        elif request.method == 'POST':
            body = await self._checked_body(request, visitor)
            MutableHeaders(scope=scope)['content-length'] = str(len(body))
            await self.app(scope, _replaying(body, receive), send)
        elif path.startswith('/gradio_api/heartbeat/'):
            self.visitors.page_opened(visitor)  # it holds this connection as long as it is open
            try:
                await self.app(scope, receive, send)
            finally:
                self.visitors.page_closed(visitor)
        else:
            await self.app(scope, receive, send)

    # -- who may ask for what ----------------------------------------------------------------------

    def _admit(self, request: Request) -> tuple[Visitor, bool]:
        """The visitor, and whether he is new.

        Raises:
            HTTPException: anything that the page itself would not ask for.
        """
        path = request.scope['path']
        self._check_host(request)
        if not self.rates.allow(request.client.host if request.client else '?'):
            raise HTTPException(429, 'Too many requests: wait a moment.')
        visitor = self.visitors.known(request.cookies.get(COOKIE))
        if request.method in ('GET', 'HEAD') and OPEN.fullmatch(path):
            if visitor is not None:
                return visitor, False
            if path != '/':
                return Visitor('', 0.0), False  # a file of the page: nobody needs to be known
            visitor = self.visitors.arrive()
            if visitor is None:
                raise HTTPException(503, 'Too many visitors: come back later.')
            return visitor, True
        legal = {'GET': OWN_GET, 'HEAD': OWN_GET, 'POST': OWN_POST}.get(request.method)
        if legal is None or not legal.fullmatch(path):
            raise HTTPException(404, 'There is no such page.')
        if visitor is None:
            raise HTTPException(403, 'Open the page first: your browser is not known here.')
        if 'file=' in path:
            if not self.visitors.owns_file(visitor, unquote(path.partition('file=')[2])):
                raise HTTPException(404, 'There is no such file.')
        elif path.startswith('/gradio_api/heartbeat/'):
            self._claim(visitor, path.rpartition('/')[2])
        elif path.startswith('/gradio_api/queue/data'):
            self._claim(visitor, request.query_params.get('session_hash'))
        return visitor, False

    def _check_host(self, request: Request) -> None:
        """The page is asked by its own names only (a foreign name that leads to this machine would
        make a foreign page ours), and from no other page."""
        host = request.headers.get('host', '')
        if not self._is_ours(_host_of(host)):
            raise HTTPException(421, 'This page is not served under that name.')
        origin = request.headers.get('origin')
        site = request.headers.get('sec-fetch-site', 'same-origin')
        foreign = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        if foreign or (site not in ('same-origin', 'none') and request.scope['path'] != '/'):
            raise HTTPException(403, 'Requests from other pages are not answered.')

    def _is_ours(self, name: str) -> bool:
        if name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.any_address

    def _claim(self, visitor: Visitor, session: object) -> None:
        if not self.visitors.claim(visitor, session):
            raise HTTPException(403, 'That session is of another visitor.')

    # -- bodies ------------------------------------------------------------------------------------

    def _watched_upload(self, request: Request, visitor: Visitor, send):
        """The `send` of an upload that fits, which remembers what gradio calls the files."""
        text = request.headers.get('content-length', '')
        if not text.isdecimal() or len(text) > 15:
            raise HTTPException(411, 'An upload says its length first.')
        if int(text) > min(MAX_UPLOAD, self.visitors.room(visitor)):
            raise HTTPException(413, f'The upload is too large: {MAX_UPLOAD >> 30} GiB at most.')
        if shutil.disk_usage(self.visitors.uploads.parent).free - int(text) < KEEP_FREE:
            raise HTTPException(507, 'The disk of the server is full.')
        answer = bytearray()

        async def record(message) -> None:
            if message['type'] == 'http.response.body' and len(answer) < MAX_BODY:
                answer.extend(message.get('body', b''))
                if not message.get('more_body'):
                    for path in _listed_paths(bytes(answer)):
                        self.visitors.add_upload(visitor, Path(path))
            await send(message)

        return record

    async def _checked_body(self, request: Request, visitor: Visitor) -> bytes:
        """The JSON of a request of this visitor, in which files are uploads of his."""
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise HTTPException(413, f'The request is too large: {MAX_BODY >> 20} MiB at most.')
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            raise HTTPException(400, 'The request is not JSON.') from None
        if not isinstance(value, dict):
            raise HTTPException(400, 'The request is not an object.')
        self._claim(visitor, value.get('session_hash'))
        return json.dumps(self._own_files(value, visitor, 0)).encode()

    def _own_files(self, value: object, visitor: Visitor, depth: int) -> object:
        if depth > 20:
            raise HTTPException(400, 'The request is nested too deep.')
        if isinstance(value, list):
            return [self._own_files(item, visitor, depth + 1) for item in value]
        if not isinstance(value, dict):
            return value
        if 'path' in value or 'url' in value:
            if not self.visitors.owns_upload(visitor, value.get('path')):
                raise HTTPException(403, 'That file is not an upload of yours.')
            value = {key: value[key] for key in FILE_KEYS if key in value}
        return {key: self._own_files(item, visitor, depth + 1) for key, item in value.items()}


def _host_of(host: str) -> str:
    """The name in a Host header, without the port and the brackets of IPv6."""
    try:
        return (urlsplit(f'//{host}').hostname or '').rstrip('.').lower()
    except ValueError:
        return ''


def _listed_paths(answer: bytes) -> list[str]:
    try:
        paths = json.loads(answer)
    except ValueError:
        return []
    return [path for path in paths if isinstance(path, str)] if isinstance(paths, list) else []


def _replaying(body: bytes, receive):
    """What the application receives: the body, then what comes."""
    pending = [{'type': 'http.request', 'body': body, 'more_body': False}]

    async def replay():
        return pending.pop() if pending else await receive()

    return replay


def _answering(send, token: str | None):
    """Adds our headers to an answer, takes away what lets other pages read it."""

    async def answer(message) -> None:
        if message['type'] == 'http.response.start':
            headers = MutableHeaders(scope=message)
            for name in {name for name in headers if name.startswith('access-control-')}:
                del headers[name]
            headers.update(HEADERS)
            if token is not None:
                cookie = f'{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict'
                headers.append('set-cookie', cookie)
        await send(message)

    return answer
