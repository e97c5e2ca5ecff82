"""What a request must be before gradio sees it: a pure ASGI layer around the whole page.

A visitor gets a cookie with the page. Everything that is not part of the page itself needs the
cookie, comes from the page's own origin, is on the list of routes that the page uses, and touches
only what the visitor has uploaded or started.
"""

import ipaddress
import json
import re
import shutil
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from mmdet.programs.app.rates import Rates
from mmdet.programs.app.visitors import Visitor, Visitors

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
    r'|/(gradio_api/)?file=.+|/results/[^/]+/[^/]+'
)
OWN_POST = re.compile(r'/gradio_api/(upload|queue/join|run/predict|cancel|reset)/?')
FILE_KEYS = ('path', 'orig_name', 'size', 'mime_type', 'meta')  # of a file in a request


class Refused(Exception):
    """A request that is answered by a status and a sentence."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Request:
    """The parts of an ASGI scope that matter here."""

    def __init__(self, scope: dict) -> None:
        self.method, self.path = scope['method'], scope['path']
        self.headers = {k.decode('latin1').lower(): v.decode('latin1') for k, v in scope['headers']}
        self.query = parse_qs(scope.get('query_string', b'').decode('latin1'))
        self.client = (scope.get('client') or ('?', 0))[0]

    @property
    def cookie(self) -> str | None:
        try:
            morsel = SimpleCookie(self.headers.get('cookie', '')).get(COOKIE)
        except CookieError:
            return None
        return morsel.value if morsel else None

    @property
    def length(self) -> int | None:
        """Bytes of the body, as announced."""
        text = self.headers.get('content-length', '')
        return int(text) if text.isdecimal() and len(text) < 16 else None


class Gate:
    """The ASGI layer.

    Args:
        app: what it guards.
        visitors: of the page.
        names: hosts by which the page is called, beside addresses of numbers where `any_address`.
        any_address: the page is served to the network, under whatever address the machine has.
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
            await self._http(scope, receive, send)
        else:  # the page uses no web sockets
            await send({'type': 'websocket.close', 'code': 1008})

    async def _http(self, scope, receive, send) -> None:
        request = Request(scope)
        try:
            visitor, fresh = self._admit(request)
            send = _answering(send, visitor.token if fresh else None)
            if request.path.startswith('/gradio_api/upload') and request.method == 'POST':
                await self._upload(scope, receive, send, request, visitor)
            elif request.method == 'POST':
                body = await self._checked_body(receive, visitor)
                await self.app(_with_length(scope, len(body)), _replaying(body, receive), send)
            elif request.path.startswith('/gradio_api/heartbeat/'):
                await self._heartbeat(scope, receive, send, visitor)
            else:
                await self.app(scope, receive, send)
        except Refused as refused:
            await _answer(send, refused)

    # -- who may ask for what ----------------------------------------------------------------------

    def _admit(self, request: Request) -> tuple[Visitor, bool]:
        """The visitor, and whether he is new.

        Raises:
            Refused: anything that the page itself would not ask for.
        """
        self._check_host(request)
        if not self.rates.allow(request.client):
            raise Refused(429, 'Too many requests: wait a moment.')
        visitor = self.visitors.known(request.cookie)
        if request.method in ('GET', 'HEAD') and OPEN.fullmatch(request.path):
            if visitor is not None:
                return visitor, False
            if request.path != '/':
                return Visitor('', 0.0), False  # a file of the page: nobody needs to be known
            visitor = self.visitors.arrive()
            if visitor is None:
                raise Refused(503, 'Too many visitors: come back later.')
            return visitor, True
        legal = {'GET': OWN_GET, 'HEAD': OWN_GET, 'POST': OWN_POST}.get(request.method)
        if legal is None or not legal.fullmatch(request.path):
            raise Refused(404, 'There is no such page.')
        if visitor is None:
            raise Refused(403, 'Open the page first: your browser is not known here.')
        self._check_own(request, visitor)
        return visitor, False

    def _check_host(self, request: Request) -> None:
        """The page is asked by its own names only (a foreign name that leads to this machine would
        make a foreign page ours), and from no other page."""
        host = request.headers.get('host', '')
        if not self._is_ours(_host_of(host)):
            raise Refused(421, 'This page is not served under that name.')
        origin = request.headers.get('origin')
        site = request.headers.get('sec-fetch-site', 'same-origin')
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise Refused(403, 'Requests from other pages are not answered.')
        if site not in ('same-origin', 'none') and request.path != '/':
            raise Refused(403, 'Requests from other pages are not answered.')

    def _is_ours(self, name: str) -> bool:
        if name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.any_address

    def _check_own(self, request: Request, visitor: Visitor) -> None:
        path = request.path
        if path.startswith('/results/'):
            if not self.visitors.owns_run(visitor, path.split('/')[2]):
                raise Refused(404, 'There is no such result.')
        elif 'file=' in path:
            if not self.visitors.owns_upload(visitor, unquote(path.partition('file=')[2])):
                raise Refused(404, 'There is no such file.')
        elif path.startswith('/gradio_api/heartbeat/'):
            self._claim(visitor, path.rpartition('/')[2])
        elif path.startswith('/gradio_api/queue/data'):
            self._claim(visitor, (request.query.get('session_hash') or [None])[0])

    def _claim(self, visitor: Visitor, session: object) -> None:
        if not self.visitors.claim(visitor, session):
            raise Refused(403, 'That session is of another visitor.')

    # -- bodies ------------------------------------------------------------------------------------

    async def _upload(self, scope, receive, send, request: Request, visitor: Visitor) -> None:
        length = request.length
        if length is None:
            raise Refused(411, 'An upload says its length first.')
        if length > min(MAX_UPLOAD, self.visitors.room(visitor)):
            raise Refused(413, f'The upload is too large: {MAX_UPLOAD >> 30} GiB at most.')
        if shutil.disk_usage(self.visitors.uploads.parent).free - length < KEEP_FREE:
            raise Refused(507, 'The disk of the server is full.')
        answer = bytearray()

        async def record(message) -> None:
            if message['type'] == 'http.response.body' and len(answer) < MAX_BODY:
                answer.extend(message.get('body', b''))
                if not message.get('more_body'):
                    self._remember(visitor, bytes(answer))
            await send(message)

        await self.app(scope, receive, record)

    def _remember(self, visitor: Visitor, answer: bytes) -> None:
        try:
            paths = json.loads(answer)
        except ValueError:
            return
        if isinstance(paths, list):
            for path in filter(lambda p: isinstance(p, str), paths):
                self.visitors.add_upload(visitor, Path(path))

    async def _checked_body(self, receive, visitor: Visitor) -> bytes:
        """The JSON of a request of this visitor, in which files are uploads of his."""
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message['type'] == 'http.disconnect':
                raise Refused(400, 'The request broke off.')
            body += message.get('body', b'')
            more = message.get('more_body', False)
            if len(body) > MAX_BODY:
                raise Refused(413, f'The request is too large: {MAX_BODY >> 20} MiB at most.')
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            raise Refused(400, 'The request is not JSON.') from None
        if not isinstance(value, dict):
            raise Refused(400, 'The request is not an object.')
        self._claim(visitor, value.get('session_hash'))
        return json.dumps(self._own_files(value, visitor, 0)).encode()

    def _own_files(self, value: object, visitor: Visitor, depth: int) -> object:
        if depth > 20:
            raise Refused(400, 'The request is nested too deep.')
        if isinstance(value, list):
            return [self._own_files(item, visitor, depth + 1) for item in value]
        if not isinstance(value, dict):
            return value
        if 'path' in value or 'url' in value:
            if not self.visitors.owns_upload(visitor, value.get('path')):
                raise Refused(403, 'That file is not an upload of yours.')
            value = {key: value[key] for key in FILE_KEYS if key in value}
        return {key: self._own_files(item, visitor, depth + 1) for key, item in value.items()}

    async def _heartbeat(self, scope, receive, send, visitor: Visitor) -> None:
        """A page holds this connection as long as it is open."""
        self.visitors.page_opened(visitor)
        try:
            await self.app(scope, receive, send)
        finally:
            self.visitors.page_closed(visitor)


def _host_of(host: str) -> str:
    """The name in a Host header, without the port and the brackets of IPv6."""
    try:
        return (urlsplit(f'//{host}').hostname or '').rstrip('.').lower()
    except ValueError:
        return ''


def _with_length(scope: dict, length: int) -> dict:
    headers = [(k, v) for k, v in scope['headers'] if k.lower() != b'content-length']
    return {**scope, 'headers': [*headers, (b'content-length', str(length).encode())]}


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
            kept = [
                (k, v)
                for k, v in message.get('headers', [])
                if not k.lower().startswith(b'access-control-') and k.decode() not in HEADERS
            ]
            kept += [(k.encode(), v.encode()) for k, v in HEADERS.items()]
            if token is not None:
                cookie = f'{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict'
                kept.append((b'set-cookie', cookie.encode()))
            message = {**message, 'headers': kept}
        await send(message)

    return answer


async def _answer(send, refused: Refused) -> None:
    body = json.dumps({'detail': refused.text}).encode()
    headers = {'content-type': 'application/json', 'content-length': str(len(body)), **HEADERS}
    pairs = [(k.encode(), v.encode()) for k, v in headers.items()]
    await send({'type': 'http.response.start', 'status': refused.status, 'headers': pairs})
    await send({'type': 'http.response.body', 'body': body})
