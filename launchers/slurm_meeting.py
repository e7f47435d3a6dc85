"""Where the nodes of a Slurm job meet: the address of its first node, also where node names do not resolve."""

import re
import socket
import subprocess

from runjob.launchers.slurm_fate import COMMAND_S
from runjob.launchers.slurm_words import read_facts
from runjob.schemas.errors import LaunchError


def address_of(nodes: str) -> str:
    """The first node of a list such as `gpu[03-04,7],login`: its name where that resolves, else Slurm's own address for
    it, by which slurmctld reaches it too."""
    name = first_node(nodes)
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return node_address(name)
    return name


def first_node(nodes: str) -> str:
    """
    >>> first_node("gpu[03-04,7],login"), first_node("node1,node2"), first_node("rack[1-2]n[05-06]")
    ('gpu03', 'node1', 'rack1n05')
    """
    first = ""
    depth = 0
    for character in nodes:
        if character == "," and depth == 0:
            break
        depth += {"[": 1, "]": -1}.get(character, 0)
        first += character
    return re.sub(r"\[([^],-]*)[^]]*\]", r"\1", first)


def node_address(name: str) -> str:
    argv = ["scontrol", "show", "node", "--oneliner", name]
    answer = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    address = read_facts(answer.stdout).get("NodeAddr", "")
    if not address:
        raise LaunchError(f"node {name} has no address: its name does not resolve, and scontrol says {answer.stderr}")
    return address
