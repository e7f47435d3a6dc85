"""A host behind sshd, and Amazon on loopback for the tests of --launcher aws: one moto for a file, a clean account for
each test."""

import contextlib
import http.server
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.aws_bench import AwsBench, write_aws_job
from tests.cluster.ec2 import Amazon, amazon
from tests.cluster.ec2_machines import Machines, machines
from tests.cluster.slurm_cluster import cluster, whole_cluster  # noqa: F401 - fixtures
from tests.cluster.sshd_host import SshHost, need_ssh_host, ssh_host
from tests.conftest import Home, Processes, Runjob
from tests.end_to_end.conftest import write_job

# By which the caller's own account would reach into a test
OF_AWS = "AWS_"


@pytest.fixture(scope="module")
def host() -> Iterator[SshHost]:
    """A host over a real sshd, for the tests of one file."""
    need_ssh_host()
    with ssh_host() as running:
        yield running


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Amazon]:
    with amazon(tmp_path_factory.mktemp("moto")) as running:
        yield running


@pytest.fixture
def aws(moto: Amazon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Amazon]:
    """An account with nothing rented, reached through a door that lets everything pass, by this process too."""
    for name in [name for name in os.environ if name.startswith(OF_AWS)]:
        monkeypatch.delenv(name)
    for name, value in {**moto.env, **no_files(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    moto.door.forget()
    yield moto
    moto.door.forget()
    left = [machine["InstanceId"] for machine in moto.live()]
    if left:
        moto.ec2.terminate_instances(InstanceIds=left)


def no_files(folder: Path) -> dict[str, str]:
    """Nothing of the caller's ~/.aws, and no role of the machine that runs the tests."""
    files = {name: str(folder / "no-such-file") for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")}
    return {**files, "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture
def checkip() -> Iterator[Callable[[str], str]]:
    """`checkip(text)` is the address of a service that answers with this text."""
    with contextlib.ExitStack() as servers:

        def serve(text: str) -> str:
            class Answer(http.server.BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(text.encode())

                def log_message(self, format: str, *args: object) -> None:
                    return

            server = servers.enter_context(http.server.HTTPServer(("127.0.0.1", 0), Answer))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            servers.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_address[1]}"

        yield serve


@pytest.fixture
def booted(aws: Amazon, tmp_path: Path) -> Iterator[Machines]:
    """What this test rents boots, and has its power taken when it is ended."""
    need_ssh_host()
    with machines(aws, tmp_path) as running:
        yield running


@pytest.fixture
def aws_bench(
    home: Home, runjob: Runjob, processes: Processes, aws: Amazon, booted: Machines, tmp_path: Path
) -> AwsBench:
    job = write_aws_job(write_job(home.path), booted.config)
    env = {**aws.env, **no_files(tmp_path)}
    return AwsBench(home=home, script=runjob, processes=processes, aws=aws, machines=booted, job=job, env=env)
