"""The cluster of the tests is what the tests of the launcher believe it to be."""

from tests.cluster.slurm_cluster import Cluster
from tests.conftest import ROOT


def test_a_node_has_the_shared_folder_and_the_packages_and_nothing_else_of_ours(cluster: Cluster, tmp_path):
    (cluster.shared / "seen").write_text("yes")
    program = (
        "import os, pathlib, sys, torch, importlib.util as u; "
        f"print(pathlib.Path({str(cluster.shared)!r}, 'seen').read_text(), "
        f"os.path.exists({str(ROOT / 'launchers')!r}), os.path.exists({str(tmp_path)!r}), "
        "os.listdir(os.path.expanduser('~')), u.find_spec('runjob'), os.environ['SLURMD_NODENAME'])"
    )
    said = cluster.run("srun", "-N2", "--label", cluster.python, "-c", program)
    assert sorted(said.splitlines()) == [
        "0: yes False False ['.pyenv'] None node1",
        "1: yes False False ['.pyenv'] None node2",
    ]
