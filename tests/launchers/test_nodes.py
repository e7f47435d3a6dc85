"""Where the nodes of an attempt stand and meet."""

import socket

from runjob.launchers.nodes import Post, is_over, open_meeting, wait_for_meeting
from tests.launchers.helpers import make_plan, make_run


def test_gloo_is_told_of_the_loopback_only_where_nodes_meet_there():
    assert Post().variables() == {}
    assert Post(node=1, master="127.0.0.2").variables() == {"GLOO_SOCKET_IFNAME": "lo"}
    assert Post(node=1, master="192.0.2.7").variables() == {}


def test_a_node_meets_the_first_one_where_it_says(tmp_path):
    run, attempt = make_run(tmp_path, make_plan("finish"))
    opened = open_meeting(attempt, Post())
    met = wait_for_meeting(run, attempt, Post(node=1, master="node0"))
    assert met is not None
    assert (met.node, met.master, met.port) == (1, "node0", opened.port)
    with socket.create_server(("127.0.0.1", opened.port)):
        pass  # it was free


def test_a_node_does_not_wait_for_an_attempt_that_is_over(tmp_path):
    run, attempt = make_run(tmp_path, make_plan("finish"))
    assert not is_over(run, attempt)
    run.write_status("failed", attempt=attempt.number)
    assert wait_for_meeting(run, attempt, Post(node=1)) is None
