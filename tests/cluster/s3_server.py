"""A real S3 endpoint on loopback (moto, as a process of its own), and a small proxy before it that fails as networks
and services do: answers 500 and 503, is slow, breaks off in the middle."""

import http.client
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from runjob.schemas.lifeline import set_parent_death_signal
from tests.cluster.ports import answers, free_port
from tests.conftest import wait_until

KEY, SECRET = "AKIAPLANTEDKEYPLANTED", "planted-secret-hunter2-0123456789"
BUCKET = "runs"


def credentials(endpoint: str) -> dict[str, str]:
    """The environment in which the AWS libraries find this endpoint and its credentials, and no others."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        "NO_PROXY": "127.0.0.1",
    }


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """The endpoint of a fresh server with an empty bucket, ended afterwards and with this process."""
    port = free_port()
    with log.open("wb") as file:
        server = subprocess.Popen(
            [Path(sys.executable).parent / "moto_server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=file,
            stderr=file,
            preexec_fn=set_parent_death_signal,
        )
    try:
        wait_until(partial(answers, port), within_s=60, what=f"moto to answer, see {log}")
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
        urllib.request.urlopen(request, timeout=30).close()
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


@dataclass
class Faults:
    """What becomes of the next requests that change something: the answers that they get instead of their own, 0 for a
    connection that breaks off; and each takes `delay_s` longer. `fails_on`: only those whose path holds one of these.
    `asked` is every request that came."""

    answers: list[int] = field(default_factory=list)
    delay_s: float = 0.0
    fails_on: tuple[str, ...] = ("",)
    asked: list[str] = field(default_factory=list)


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *words, port: int, faults: Faults) -> None:
        self.port, self.faults = port, faults
        super().__init__(*words)

    def handle_one(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.faults.asked.append(f"{self.command} {self.path}")
        if self.command in ("PUT", "POST"):
            time.sleep(self.faults.delay_s)
            if self.faults.answers and any(part in self.path for part in self.faults.fails_on):
                self.spoil(self.faults.answers.pop(0))
                return
        server = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        server.request(self.command, self.path, body, dict(self.headers))
        answer = server.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        kept = {"content-length", "transfer-encoding", "connection", "date", "server"}
        for name, value in answer.getheaders():
            if name.lower() not in kept:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        server.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one

    def spoil(self, status: int) -> None:
        if status == 0:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        code = "InternalError" if status == 500 else "SlowDown"
        data = f"<Error><Code>{code}</Code><Message>try again</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words) -> None:
        pass


@contextmanager
def faulty(endpoint: str, faults: Faults) -> Iterator[str]:
    """The endpoint of a proxy before another one."""
    port = int(endpoint.rpartition(":")[2])
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Proxy, port=port, faults=faults))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
