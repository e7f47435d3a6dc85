"""A job over several hosts: one node on each, each with a copy of the run of its own, that meet at the first.

The first host's copy is the one that the mirror follows: rank 0 is there, and says how the job is. The others only
train: they prepare their own data, start from the checkpoint that they were sent, and end when the first one's ranks
do.
"""

import contextlib
from collections.abc import Mapping, Sequence

from runjob.launchers.base import SUBMISSION_GRACE_S, Handle
from runjob.launchers.ssh_link import Link
from runjob.launchers.ssh_target import UnreachableError
from runjob.schemas.errors import RunjobError
from runjob.schemas.job_hardware import Ssh
from runjob.schemas.run import Attempt

# Longer than the outpost there waits for its supervisor, with the start of Python before it
START_S = SUBMISSION_GRACE_S + 25.0
STOP_S = 10.0
# handle.json is flat: node2_host, node2_path ...
NODE = "node{}_"


def helper_facts(links: Sequence[Link]) -> dict[str, str | int]:
    """The hosts but the first, as handle.json keeps them."""
    return {
        NODE.format(number) + name: value
        for number, link in enumerate(links, start=1)
        for name, value in link.facts().items()
    }


def helpers_of(handle: Handle) -> list[Link]:
    found: list[Link] = []
    while True:
        prefix = NODE.format(len(found) + 1)
        facts = {name.removeprefix(prefix): value for name, value in handle.facts.items() if name.startswith(prefix)}
        if not facts:
            return found
        found.append(Link.from_facts(facts))


def start_all(links: Sequence[Link], attempt: Attempt, block: Ssh, *, lent: Mapping[str, str]) -> None:
    """The others first, so that the first one's state says from its beginning how all of it is. If one can't be
    started, those that were are stopped."""
    meeting = meeting_of(links, block)
    for number in reversed(range(len(links))):
        words = ["start", str(attempt.number), *meeting, *(["--node", str(number)] if meeting else [])]
        try:
            links[number].ask(words, stdin=dict(lent), timeout_s=START_S)
        except UnreachableError:
            if number:
                stop(links[number + 1 :], attempt.number)
                raise
            # The answer was lost, and perhaps only the answer: the next look says what became of it.
        except RunjobError:
            stop(links[number + 1 :], attempt.number)
            raise


def meeting_of(links: Sequence[Link], block: Ssh) -> list[str]:
    """Words for the supervisors of several hosts: where they meet. One alone needs none."""
    if len(links) == 1:
        return []
    master = block.master_address or links[0].target.settings()["hostname"]
    return ["--master", master, "--port", str(block.master_port), "--apart", "1"]


def stop_helpers(handle: Handle) -> None:
    stop(helpers_of(handle), handle.attempt)


def stop(links: Sequence[Link], attempt: int) -> None:
    """Best effort: a host that is away notices by the broken connection of its ranks."""
    for link in links:
        with contextlib.suppress(RunjobError):
            link.ask(["cancel", str(attempt)], timeout_s=STOP_S)
