"""Serving the page on this machine: nothing is fetched from, sent to or kept anywhere else."""

import os
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mmdet.apis.video_detector import VideoDetector
from mmdet.apis.video_run import StopSignals
from mmdet.core.errors import AddressError
from mmdet.programs.app.gate import Gate
from mmdet.programs.app.visitors import Visitors

EVERYONE = ('0.0.0.0', '::')
MAX_CONNECTIONS = 500


def listen(host: str, port: int) -> socket.socket:
    """A socket at the address; port 0 takes any free one.

    Raises:
        AddressError: the port is in use, or the host is not an address of this machine.
    """
    try:
        return socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise AddressError(
            f'Cannot serve at {host}:{port}: {reason}. --port 0 takes a free port; --host is '
            f'127.0.0.1 (this machine only) or 0.0.0.0 (everyone who can reach it).'
        ) from error


def serve(
    detector: VideoDetector,
    listener: socket.socket,
    model_name: str,
    score_thr: float = 0.3,
    causal: bool = False,
    host_names: Sequence[str] = (),
) -> None:
    """Serve until Ctrl-C or SIGTERM; uploads and results are removed then.

    `score_thr` and `causal` are what the controls say at first, `host_names` are names of this
    machine beside its own, under which the page may be asked for.
    """
    with tempfile.TemporaryDirectory(prefix='vfe-app-') as name, StopSignals():
        folder = Path(name).resolve()
        visitors = Visitors(folder / 'uploads')
        visitors.start_sweeping()
        try:
            # gradio reads these when it is imported
            os.environ['GRADIO_TEMP_DIR'] = str(visitors.uploads)
            os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
            os.environ['HF_HUB_DISABLE_TELEMETRY'] = '1'
            from mmdet.programs.app.page import Page

            place = (detector, folder / 'results', visitors)
            app = Page(*place, model_name, score_thr, causal).application()
            names, everyone = served_names(listener, host_names)
            _run_server(Gate(app, visitors, names, everyone), listener)
        except KeyboardInterrupt:
            print('Stopped.')
        finally:
            visitors.close()


def served_names(listener: socket.socket, host_names: Sequence[str] = ()) -> tuple[set[str], bool]:
    """The names by which the page may be asked for, and whether any address of numbers is one."""
    host = listener.getsockname()[0]
    everyone = host in EVERYONE
    names = {'localhost', '127.0.0.1', '::1', host, *host_names}
    if everyone or host not in ('127.0.0.1', '::1'):
        names |= {socket.gethostname(), socket.getfqdn()}
    return names, everyone


def _run_server(app, listener: socket.socket) -> None:
    import uvicorn

    host, port = listener.getsockname()[:2]
    everyone = host in EVERYONE
    said = f'Open http://{"127.0.0.1" if everyone else host}:{port} in a browser. Ctrl-C ends.'
    if everyone:
        said += '\nEveryone who can reach this machine can use the page; there is no password.'
    print(said, flush=True)
    # a page that is still open keeps a connection: do not wait for it
    config = uvicorn.Config(
        app,
        log_level='warning',
        timeout_graceful_shutdown=1,
        limit_concurrency=MAX_CONNECTIONS,
        proxy_headers=False,  # what a client says of its own address is not believed
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[listener])
