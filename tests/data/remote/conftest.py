"""An HTTP server for the tests of remote files: knows ranges, ETags and listings as real ones do, and breaks off where
it is told to."""

import contextlib
import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from runjob.data.downloads import Downloads, Fetching


class Server:
    """Serves the files of a folder. `asked` lists (method, path, first byte) of every request.

    `breaks`: so many bytes after which each of the next answers breaks off, the connection closed. `ranges` and `sizes`
    False: it knows no ranges, it doesn't say how large anything is. `status`: what it answers instead of everything.
    `refuses`: the same for the next requests alone. `claims`: the size that it says files have when asked for that
    alone. `stalls_at`: an answer that begins there waits for `go_on`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self.asked: list[tuple[str, str, int]] = []
        self.breaks: list[int] = []
        self.ranges = self.sizes = True
        self.status: int | None = None
        self.refuses: list[int] = []
        self.claims: int | None = None
        self.stalls_at: int | None = None
        self.stalled, self.go_on = threading.Event(), threading.Event()

    @property
    def fetched(self) -> list[int]:
        """Where each answer with a body began."""
        return [first for method, _, first in self.asked if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *words, server_under_test: Server) -> None:
        self.under_test = server_under_test
        super().__init__(*words)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        server, path = self.under_test, self.under_test.folder / self.path.partition("?")[0].lstrip("/")
        wanted = self.headers.get("Range", "")
        first, last = self._range(wanted) if server.ranges else (0, None)
        server.asked.append((self.command, self.path, first))
        status = server.refuses.pop(0) if server.refuses else server.status
        if status is not None:
            return self._say(status, b"", {})
        if path.is_dir():
            links = "".join(f'<a href="{one.name}">{one.name}</a>' for one in sorted(path.iterdir()))
            return self._say(200, links.encode(), {"Content-Type": "text/html"})
        if not path.is_file():
            return self._say(404, b"", {})
        data = path.read_bytes()
        headers = {"ETag": f'"{hashlib.md5(data).hexdigest()}"'}
        part = data[first : None if last is None else last + 1]
        if server.ranges:
            headers["Accept-Ranges"] = "bytes"
        if wanted and server.ranges:
            headers["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(data)}"
        return self._say(206 if wanted and server.ranges else 200, part, headers, body=body)

    def _say(self, status: int, data: bytes, headers: dict[str, str], *, body: bool = True) -> None:
        server = self.under_test
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if server.sizes:
            self.send_header("Content-Length", str(server.claims or len(data)))
        else:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "GET" or not body:
            return
        if server.asked[-1][2] == server.stalls_at:
            server.stalled.set()
            server.go_on.wait(60)
        if server.breaks and status in (200, 206):
            data, self.close_connection = data[: server.breaks.pop(0)], True
        with contextlib.suppress(ConnectionError):  # whoever asked was killed
            self.wfile.write(data)

    @staticmethod
    def _range(wanted: str) -> tuple[int, int | None]:
        if not wanted.startswith("bytes="):
            return 0, None
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        return int(first), int(last) if last else None

    def log_message(self, format: str, *words: object) -> None:
        return


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Serves `tmp_path/there`."""
    (tmp_path / "there").mkdir()
    one = Server(tmp_path / "there")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, server_under_test=one)) as http:
        one.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield one
        finally:
            http.shutdown()
            thread.join()


@pytest.fixture
def told() -> list[Fetching]:
    """What was said of downloads."""
    return []


@pytest.fixture
def downloads(tmp_path: Path, told: list[Fetching]) -> Downloads:
    return Downloads(tmp_path / "cache", report=told.append, pinned={}, pauses_s=(0.01, 0.01))
