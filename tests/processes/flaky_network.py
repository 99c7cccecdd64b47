"""A network between workers and their server that a test can break."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from pathlib import Path


class FlakyNetwork:
    """Passes bytes on to the server's worker port; `server_dir` is for workers that use it."""

    def __init__(self, cluster, name: str = "via") -> None:
        self._access = cluster.server_dir / "hq-current" / "access.json"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._pairs: list[_Pair] = []
        self._is_down = False
        self._flows = threading.Event()
        self._flows.set()
        self.made = 0  # connections so far
        self.server_dir = cluster.root / name
        place = self.server_dir / "hq-current"
        place.mkdir(parents=True, mode=0o700)
        access = json.loads(self._access.read_text())
        access["worker"]["host"] = "127.0.0.1"
        access["worker"]["port"] = self._listener.getsockname()[1]
        path = Path(place / "access.json")
        path.touch(mode=0o600)
        path.write_text(json.dumps(access))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            worker = json.loads(self._access.read_text())["worker"]
            with self._lock:
                if self._is_down:
                    near.close()
                    continue
                try:
                    far = socket.create_connection((worker["host"], worker["port"]))
                except OSError:
                    near.close()
                    continue
                self._pairs.append(_Pair(near, far, self._flows))
                self.made += 1

    def cut(self) -> None:
        """Every connection breaks, and none can be made."""
        with self._lock:
            self._is_down = True
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            pair.end()

    def mend(self) -> None:
        """Connections can be made again."""
        with self._lock:
            self._is_down = False

    def forget(self) -> None:
        """Of the connections there are, nothing arrives any more; both ends think they exist."""
        with self._lock:
            for pair in self._pairs:
                pair.is_dead = True

    def stall(self) -> None:
        """Nothing arrives until it flows again, and then everything does."""
        self._flows.clear()

    def flow(self) -> None:
        self._flows.set()

    def close(self) -> None:
        self._listener.close()
        self.cut()
        self.flow()


class _Pair:
    def __init__(self, near: socket.socket, far: socket.socket, flows: threading.Event) -> None:
        self._ends = (near, far)
        self._flows = flows
        self.is_dead = False
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flows.wait()
                if not self.is_dead:
                    sink.sendall(data)
        if not self.is_dead:
            self.end()

    def end(self) -> None:
        for one in self._ends:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
