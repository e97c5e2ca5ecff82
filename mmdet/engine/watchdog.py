"""Names the rank that keeps the others waiting, minutes before the process group gives up.

Each rank sends a line to rank 0 every second, over a connection of its own, from a thread that no
collective holds up. A rank that is stopped, swapped out or cut off falls silent; one that dies
drops its connection. Whoever is left says rank, host and process, and ends.
"""

import hmac
import os
import secrets
import socket
import socketserver
import sys
import threading
import time
from dataclasses import dataclass

import torch.distributed as dist

from mmdet.evaluation.gather import Group, broadcast_object, gather_objects

SILENCE_S = 120.0
PERIOD_S = 1.0
DEATH_S = 5.0  # the dead one's own message comes first
LINE = 512


@dataclass
class Peer:
    """A rank, as rank 0 sees it."""

    name: str
    seen: float
    died: float | None = None
    done: bool = False


class Watchdog:
    """Runs from `start` to `stop` on every rank of a process group; a rank that sends no line for
    `silence_s` seconds counts as stopped."""

    def __init__(self, silence_s: float = SILENCE_S) -> None:
        self.silence_s = silence_s
        self._stop, self._failed = threading.Event(), False
        self._server: _Server | None = None

    def start(self, group: Group = None) -> None:
        """Every rank must call it; they exchange their names through `group`, see `cpu_group`."""
        rank = dist.get_rank()
        server = _Server(self.silence_s) if rank == 0 else None
        host = os.environ.get('MASTER_ADDR', '127.0.0.1')
        place = (host, server.port, server.token, _name(0)) if server else None
        address, names = broadcast_object(place, group), gather_objects(_name(rank), group)
        work, args = self._report, (rank, *address)
        if server:
            self._server = server
            server.expect(names)
            work, args = self._judge, ()
        self._thread = threading.Thread(target=work, args=args, name='watchdog', daemon=True)
        self._thread.start()

    def stop(self, failed: bool = False) -> None:
        """Say goodbye; after a failure the others hear nothing, and end with its name."""
        self._failed = failed
        self._stop.set()
        self._thread.join(2 * PERIOD_S)
        if self._server is not None:
            self._server.finish(failed)

    def _judge(self) -> None:
        """Rank 0: look at when each rank was heard last."""
        while not self._stop.is_set():
            now = self._rest()
            if now is None:  # this process itself was stopped meanwhile
                self._server.forgive(time.monotonic())
                continue
            verdict = self._server.judge(now)
            if verdict:
                time.sleep(2 * PERIOD_S)  # the others fetch it, too
                _end_process(verdict)

    def _rest(self) -> float | None:
        """Wait for a second; the time then, or None if this process was stopped meanwhile."""
        before = time.monotonic()
        self._stop.wait(PERIOD_S)
        now = time.monotonic()
        return None if now - before > PERIOD_S + self.silence_s / 2 else now

    def _report(self, rank: int, host: str, port: int, token: str, name: str) -> None:
        """The others: send lines, read what rank 0 says."""
        heard = time.monotonic()
        link: socket.socket | None = None
        while True:
            if self._rest() is None:
                heard = time.monotonic()
            stopping = self._stop.is_set()
            if stopping and self._failed:
                return
            try:
                link = link or socket.create_connection((host, port), PERIOD_S * 2)
                word = 'bye' if stopping else 'here'
                link.sendall(f'{token} {rank} {word} {_name(rank)}\n'.encode())
                said = link.recv(LINE).decode()
            except TimeoutError:
                said = None
            except OSError:
                said, link = '', None
            if stopping or said == 'bye\n':
                return
            if said == 'ok\n':
                heard = time.monotonic()
            elif said:
                _end_process(said.strip())
            limit = DEATH_S if said == '' else self.silence_s
            if time.monotonic() - heard > limit:
                what = 'has ended' if said == '' else f'was silent for {self.silence_s:.0f} s'
                _end_process(_sentence(name, what))


class _Server(socketserver.ThreadingTCPServer):
    """Rank 0's end of the connections."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, silence_s: float) -> None:
        super().__init__(('', 0), _Handler)
        self.silence_s, self.token = silence_s, secrets.token_hex(16)
        self.port = self.server_address[1]
        self.verdict, self.finished = '', False
        self._peers: dict[int, Peer] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, name='watchdog-server', daemon=True).start()

    def expect(self, names: list[str]) -> None:
        """Names of all ranks, of which some may have been heard already."""
        with self._lock:
            now = time.monotonic()
            for rank, name in enumerate(names[1:], 1):
                self._peers.setdefault(rank, Peer(name, now))

    def hear(self, rank: int, word: str, name: str) -> None:
        with self._lock:
            self._peers[rank] = Peer(name, time.monotonic(), done=word == 'bye')

    def lost(self, rank: int) -> None:
        with self._lock:
            self._peers[rank].died = time.monotonic()

    def forgive(self, now: float) -> None:
        with self._lock:
            for peer in self._peers.values():
                peer.seen = now

    def judge(self, now: float) -> str:
        """The sentence about the first rank that is not there, or nothing."""
        with self._lock:
            for peer in (p for p in self._peers.values() if not p.done):
                if peer.died is not None and now - peer.died > DEATH_S:
                    self.verdict = _sentence(peer.name, 'has ended')
                elif peer.died is None and now - peer.seen > self.silence_s:
                    self.verdict = _sentence(peer.name, f'was silent for {self.silence_s:.0f} s')
            return self.verdict

    def finish(self, failed: bool) -> None:
        self.finished = not failed
        if not failed:
            time.sleep(2 * PERIOD_S)  # all others hear of it
        self.shutdown()
        self.server_close()


class _Handler(socketserver.StreamRequestHandler):
    """One rank's connection."""

    def handle(self) -> None:
        rank, done = None, False
        while line := self.rfile.readline(LINE):
            token, number, word, *name = line.decode(errors='replace').split()
            if not hmac.compare_digest(token, self.server.token) or not number.isdecimal():
                return
            rank, done = int(number), word == 'bye'
            self.server.hear(rank, word, ' '.join(name))
            said = 'bye' if self.server.finished else self.server.verdict or 'ok'
            self.wfile.write(f'{said}\n'.encode())
        if rank is not None and not done:
            self.server.lost(rank)


def _name(rank: int) -> str:
    return f'rank {rank} on {socket.gethostname()} (process {os.getpid()})'


def _sentence(name: str, what: str) -> str:
    return (
        f'{name} {what}, and the others wait for it: this run ends. Its own output says why it '
        f'ended; a silent one was stopped, swapped out, or lost its network. The last checkpoint '
        f'is whole: --resume auto goes on from it.'
    )


def _end_process(sentence: str) -> None:
    """The main thread waits in a collective that nothing can interrupt."""
    print(f'error: {sentence}', file=sys.stderr, flush=True)
    os._exit(1)
