"""A line between the supervisors of a job whose nodes are apart: if one of them ends, the others know at once.

Nothing else would tell them. Before the ranks have met, torchrun waits for a missing node for minutes; once they have,
a broken connection names no host. Every node but the first calls the first one's supervisor, at the port after the one
where the ranks meet, says who it is, and holds the line; its last word is how it ended. A line that closes without a
word is a supervisor that was killed; the kernel closes it. A machine that lost its power is missed by keepalive.
"""

import contextlib
import json
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from runjob.launchers.nodes import Post
from runjob.schemas.errors import LaunchError
from runjob.schemas.own_log import say
from runjob.schemas.plan import Plan
from runjob.schemas.run import Attempt, RunDir, State

# The other nodes are started before the first one, so that they only have to come through.
CALL_S = 60.0
RETRY_S = 0.5
CONNECT_S = 0.5
# Three unanswered questions; less than half a minute until a machine without power is missed
KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
LONGEST_LINE = 4096
# Of what is not read yet; who sends more is none of ours
LONGEST_TEXT = 1 << 16


class Ear:
    """One end of a line: whole JSON lines as they come, and whether it was closed."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.text = b""
        self.closed = False
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def words(self) -> Iterator[Mapping[str, Any]]:
        """Those that nobody has taken yet."""
        self._read()
        while b"\n" in self.text:
            line, _, self.text = self.text.partition(b"\n")
            with contextlib.suppress(ValueError):
                if isinstance(word := json.loads(line), dict):
                    yield word

    def _read(self) -> None:
        try:
            while data := self.connection.recv(LONGEST_LINE):
                self.text += data
                if len(self.text) > LONGEST_TEXT:
                    break
            self.closed = True
        except BlockingIOError:
            return
        except OSError:  # reset, or nobody answers any more
            self.closed = True


class HeadLine:
    """The first node's end. `call` is what another node has to say to be one of this attempt's."""

    def __init__(self, *, hosts: Sequence[str], port: int, call: Mapping[str, Any]) -> None:
        self.hosts = hosts
        self.missing = set(range(1, len(hosts)))
        self.call = dict(call)
        self.port = port
        self.strangers: list[Ear] = []
        self.nodes: dict[int, Ear] = {}
        self.ended: dict[int, str] = {}
        self.until = time.monotonic() + CALL_S
        self.server = listen(port)

    def look(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                self.strangers.append(Ear(self.server.accept()[0]))
        for ear in list(self.strangers):
            self._introduce(ear)
        for node, ear in list(self.nodes.items()):
            self._hear(node, ear)

    def failure(self) -> str:
        if self.ended:
            node, how = next(iter(self.ended.items()))
            return f"node {node} ({self.hosts[node]}) {how}"
        if self.missing and time.monotonic() > self.until:
            node = min(self.missing)
            called = f"has not called port {self.port} of the first host within {CALL_S:.0f} s"
            return f"node {node} ({self.hosts[node]}) {called} (hardware.ssh.master_address, master_port)"
        return ""

    def close(self, state: State, message: str) -> None:
        """The attempt has ended; the other nodes hear it by the line, if they have not ended themselves."""
        self.server.close()
        for ear in (*self.strangers, *self.nodes.values()):
            ear.connection.close()

    def _introduce(self, ear: Ear) -> None:
        for word in ear.words():
            node = word.get("node")
            if node in self.missing and {name: word.get(name) for name in self.call} == self.call:
                self.missing.remove(node)
                self.nodes[node] = ear
                say(f"node {node} has called")
                break
        if ear in self.nodes.values():
            self.strangers.remove(ear)
        elif ear.closed:
            self.strangers.remove(ear)
            ear.connection.close()

    def _hear(self, node: int, ear: Ear) -> None:
        for word in ear.words():
            if "state" in word:
                self.nodes.pop(node).connection.close()
                if word["state"] == "failed":
                    self.ended[node] = f"failed: {word['message']}"
                return
        if ear.closed:
            self.nodes.pop(node).connection.close()
            self.ended[node] = "is gone without a word: its supervisor was killed, or its machine is down"
            say(f"node {node} {self.ended[node]}")


class HelperLine:
    """Another node's end."""

    def __init__(self, *, head: str, master: str, port: int, call: Mapping[str, Any]) -> None:
        self.head = head
        self.address = (master, port)
        self.call = dict(call)
        self.ear: Ear | None = None
        self.next_try = 0.0

    def look(self) -> None:
        if self.ear is not None:
            list(self.ear.words())
        elif time.monotonic() >= self.next_try:
            self.next_try = time.monotonic() + RETRY_S
            with contextlib.suppress(OSError):  # the first node is started last
                connection = socket.create_connection(self.address, timeout=CONNECT_S)
                connection.sendall(json.dumps(self.call).encode() + b"\n")
                self.ear = Ear(connection)
                say(f"called node 0 at {self.address[0]}:{self.address[1]}")

    def failure(self) -> str:
        return f"node 0 ({self.head}) is gone" if self.ear is not None and self.ear.closed else ""

    def close(self, state: State, message: str) -> None:
        """How this node ended. A failure that came before the first node could be called is told when it can."""
        until = time.monotonic() + (CALL_S if state == "failed" else 0.0)
        while self.ear is None and time.monotonic() < until:
            self.look()
            time.sleep(RETRY_S)
        if self.ear is not None:
            with contextlib.suppress(OSError):
                self.ear.connection.sendall(json.dumps({"state": state, "message": message}).encode() + b"\n")
            self.ear.connection.close()


def open_line(run: RunDir, attempt: Attempt, post: Post, plan: Plan) -> HeadLine | HelperLine:
    """This node's end, by the names that the job gives its hosts. LaunchError where the first can't be called."""
    from runjob.schemas.job_json import read_job_json  # only where nodes are apart

    block = read_job_json(run.job).job.hardware.ssh
    hosts = [f"host {node}" for node in range(plan.resources.nodes)] if block is None else block.host
    call = {"run": run.id, "attempt": attempt.number}
    port = post.port + 1
    if post.node:
        return HelperLine(head=hosts[0], master=post.master, port=port, call=call | {"node": post.node})
    try:
        return HeadLine(hosts=hosts[: plan.resources.nodes], port=port, call=call)
    except OSError as error:
        said = f"can't listen at port {port}, which the other nodes call: {error.strerror}"
        raise LaunchError(f"{said}; hardware.ssh.master_port names the one before it") from error


def listen(port: int) -> socket.socket:
    """On every address of this machine."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    server = socket.create_server(("", port), family=family, dualstack_ipv6=both)
    server.setblocking(False)
    return server
