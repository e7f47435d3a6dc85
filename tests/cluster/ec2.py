"""Amazon on this machine: moto's EC2 as a process, and before it a door that can refuse, as Amazon does and moto never.

moto books machines and boots none; tests/cluster/ec2_machines.py boots them. The door passes every request on, unless a
test has told it otherwise: answer this call with that error, hold the answer back, or lose it after it was acted upon.
It also keeps the promise of client tokens, which moto does not: the same token, the same machine.
"""

import contextlib
import http.server
import json
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runjob.schemas.job import Job
from runjob.schemas.job_hardware import Aws
from runjob.schemas.read import read_job
from tests.cluster.ports import answers, free_port
from tests.conftest import ROOT, wait_until

REGION = "us-east-1"
ACCOUNT = {"AWS_ACCESS_KEY_ID": "AKIAPLANTED", "AWS_SECRET_ACCESS_KEY": "planted-secret", "AWS_DEFAULT_REGION": REGION}
# moto knows it; an Ubuntu of Canonical's, x86_64
IMAGE = "ami-1e749f67"


@dataclass
class Refusal:
    """`times` calls of `action` whose body holds `when`, to the region `where`, are answered with this error."""

    action: str
    code: str
    message: str
    when: str = ""
    where: str = ""
    times: int = 1_000_000


@dataclass
class Door:
    """What the tests may ask of the proxy, and what it saw: the actions, in order."""

    behind: str
    refusals: list[Refusal] = field(default_factory=list)
    # Actions that are acted upon, but whose answer waits until the event is set: the moment to kill whoever asked.
    held: dict[str, threading.Event] = field(default_factory=dict)
    reached: dict[str, threading.Event] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    tokens: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def refuse(self, action: str, code: str, message: str = "no", *, when: str = "", where: str = "") -> None:
        self.refusals.append(Refusal(action=action, code=code, message=message, when=when, where=where))

    def hold(self, action: str) -> threading.Event:
        """The answers to this action wait from now on; the event says that one does."""
        self.held[action] = threading.Event()
        self.reached[action] = threading.Event()
        return self.reached[action]

    def let_go(self) -> None:
        for event in self.held.values():
            event.set()
        self.held.clear()

    def forget(self) -> None:
        self.let_go()
        self.refusals.clear()
        self.seen.clear()

    def calls(self, action: str) -> list[dict[str, str]]:
        return [fields for name, fields in self.seen if name == action]

    def refusal_of(self, action: str, body: str, signed: str) -> Refusal | None:
        with self.lock:
            for one in self.refusals:
                if one.action == action and one.when in body and one.where in signed and one.times > 0:
                    one.times -= 1
                    return one
        return None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    door: Door

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        text = body.decode(errors="replace")
        fields = dict(urllib.parse.parse_qsl(text))
        action = fields["Action"] if "Action" in fields else self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        self.door.seen.append((action, fields))
        refusal = self.door.refusal_of(action, text, self.headers.get("Authorization", ""))
        if refusal is not None:
            self.answer(400, error_body(refusal, as_json="X-Amz-Target" in self.headers), "text/xml")
            return
        code, answer, kind = self.pass_on(body, fields["ClientToken"] if action == "RunInstances" else "")
        if action in self.door.held:
            event = self.door.held[action]
            self.door.reached[action].set()
            event.wait(60)
        with contextlib.suppress(OSError):
            self.answer(code, answer, kind)

    do_GET = do_PUT = do_POST

    def pass_on(self, body: bytes, token: str) -> tuple[int, bytes, str]:
        with self.door.lock:
            if token in self.door.tokens:
                return (*self.door.tokens[token], "text/xml")
        headers = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "content-length")}
        request = urllib.request.Request(self.door.behind + self.path, data=body, headers=headers, method=self.command)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                code, text, kind = answer.status, answer.read(), answer.headers["Content-Type"]
        except urllib.error.HTTPError as error:
            code, text, kind = error.code, error.read(), error.headers["Content-Type"]
        if token and code == 200:
            with self.door.lock:
                self.door.tokens[token] = (code, text)
        return code, text, kind

    def answer(self, code: int, body: bytes, kind: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return


def error_body(refusal: Refusal, *, as_json: bool) -> bytes:
    if as_json:
        return f'{{"__type": "{refusal.code}", "message": "{refusal.message}"}}'.encode()
    inner = f"<Error><Code>{refusal.code}</Code><Message>{refusal.message}</Message></Error>"
    return f"<Response><Errors>{inner}</Errors><RequestID>r</RequestID></Response>".encode()


@dataclass(frozen=True, kw_only=True)
class Amazon:
    """`env` is what a user's shell would have set; `ec2` looks behind the door."""

    door: Door
    url: str
    env: dict[str, str]
    ec2: Any
    s3: Any

    def live(self) -> list[dict[str, Any]]:
        states = [{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}]
        found = self.ec2.describe_instances(Filters=states)["Reservations"]
        return [machine for group in found for machine in group["Instances"]]

    def make_bucket(self, name: str) -> None:
        self.s3.create_bucket(Bucket=name)

    def in_bucket(self, name: str, prefix: str) -> bool:
        """Is a whole checkpoint there? Its manifest comes last."""
        found = self.s3.list_objects_v2(Bucket=name, Prefix=prefix)
        return "Contents" in found and any(one["Key"].endswith("manifest.json") for one in found["Contents"])


@contextlib.contextmanager
def amazon(folder: Path) -> Iterator[Amazon]:
    import boto3

    port = free_port()
    program = Path(sys.executable).with_name("moto_server")
    with (folder / "moto.log").open("wb") as log:
        moto = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
    door = Door(behind=f"http://127.0.0.1:{port}")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"door": door}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        wait_until(lambda: answers(port), within_s=60, what="moto to listen")
        session = boto3.session.Session(**SESSION)
        ec2, s3 = (session.client(service, endpoint_url=door.behind) for service in ("ec2", "s3"))
        env = {**ACCOUNT, "AWS_ENDPOINT_URL": url, "AWS_ENDPOINT_URL_S3": door.behind}
        yield Amazon(door=door, url=url, env=env, ec2=ec2, s3=s3)
    finally:
        door.let_go()
        server.shutdown()
        server.server_close()
        moto.kill()
        moto.wait()


SESSION = {"aws_access_key_id": "behind", "aws_secret_access_key": "the door", "region_name": REGION}


def aws_job(**changes: Any) -> Job:
    """A tiny job whose hardware.aws names only what it must, with these changes."""
    block = {"instance": "g5.12xlarge", "max_hours": 12, **changes}
    return read_job(ROOT / "jobs" / "tiny" / "gpt2_dutch.yaml", [f"hardware.aws={json.dumps(block)}"]).job


def aws_settings(**changes: Any) -> Aws:
    block = aws_job(**changes).hardware.aws
    assert block is not None
    return block
