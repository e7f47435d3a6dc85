"""One attempt on several nodes, each with a supervisor of its own: where this one stands, where all of them meet, and
what each says to the others in files of the attempt.

Node 0 owns the run. When it begins to train it says in meeting.json where; the others wait for that, and say in
node-K.json how their share ended.
"""

import ipaddress
import socket
import time
from dataclasses import dataclass

from runjob.launchers.outcome import describe_end
from runjob.schemas.plan import Meeting
from runjob.schemas.run import ALIVE_STATES, Attempt, RunDir, read_json, write_json

POLL_S = 0.05
# Between a request to stop and a meeting that node 0 had begun just before it heard of it
MEETING_GRACE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Post:
    """Where a supervisor stands: under which launcher, on which node, and where the nodes meet. Port 0: node 0 takes a
    free one and says it in the attempt's meeting.json, which all nodes see then. A node that is `apart` (1) has a copy
    of the run that nobody else sees: it prepares its own data and says in its own status.json how it is."""

    under: str = "local"
    node: int = 0
    master: str = "127.0.0.1"
    port: int = 0
    apart: int = 0

    @property
    def helps(self) -> bool:
        """Is this another node than the first of a run that all of them see?"""
        return bool(self.node) and not self.apart

    def variables(self) -> dict[str, str]:
        """Gloo takes the interface of this machine's own name, by which a loopback address does not answer."""
        address = "" if self.master == Post.master else str(socket.getaddrinfo(self.master, None)[0][4][0])
        return {"GLOO_SOCKET_IFNAME": "lo"} if address and ipaddress.ip_address(address).is_loopback else {}


def open_meeting(attempt: Attempt, post: Post) -> Meeting:
    """A port of node 0 that is free now, told to the others."""
    port = post.port or free_port()
    write_json(attempt.meeting, {"master": post.master, "port": port})
    return Meeting(node=post.node, master=post.master, port=port)


def wait_for_meeting(run: RunDir, attempt: Attempt, post: Post) -> Meeting | None:
    """When node 0 begins to train; None if it ends before, or is asked to."""
    asked_at = float("inf")
    while not post.port and not attempt.meeting.exists():
        asked_at = min(asked_at, time.monotonic()) if attempt.stop_request.exists() else float("inf")
        if is_over(run, attempt) or time.monotonic() > asked_at + MEETING_GRACE_S:
            return None
        time.sleep(POLL_S)
    port = post.port or int(read_json(attempt.meeting)["port"])
    return Meeting(node=post.node, master=post.master, port=port)


def is_over(run: RunDir, attempt: Attempt) -> bool:
    """Has node 0 said that this attempt is at its end, or has a later one begun?"""
    status = run.read_status()
    ended = status.attempt != attempt.number or status.state not in ALIVE_STATES
    return ended or run.attempt(attempt.number + 1).path.exists()


def tell_end(attempt: Attempt, node: int, code: int) -> None:
    write_json(attempt.node_end(node), {"code": code, "end": describe_end(code)})


def failed_node(attempt: Attempt) -> str:
    """`node 1 ended with code 1`, of the first other node that says so."""
    for path in sorted(attempt.path.glob("node-*.json")):
        said = read_json(path)
        if said["code"] != 0:
            return f"node {path.stem.removeprefix('node-')} {said['end']}"
    return ""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("", 0))
        return int(one.getsockname()[1])
