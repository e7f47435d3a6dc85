"""How ssh reaches a rented machine: a configuration of ours before the user's own, in the run directory.

It names the key that we log in with and the host key that the machine was given before it existed. Everything else
(jump hosts, proxies) is the user's, whose configuration is included behind ours: what ssh reads first counts.

    <run>/aws/ssh_config    <run>/aws/known_hosts    both private, read by ssh alone
"""

import hashlib
from pathlib import Path

from runjob.launchers.aws_keys import LoginKey
from runjob.launchers.ssh_target import private_folder
from runjob.schemas.errors import LaunchError
from runjob.schemas.job_hardware import Aws, Ssh
from runjob.schemas.run import RunDir, write_atomic

# A directory that ssh's configuration can name as it is: no quote, no blank, no % and no $, which mean something there.
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=,./@")
USERS_OWN = "~/.ssh/config"


def expect_host(run: RunDir, public: str) -> None:
    """Before the machine exists: this is the key it will have. Its name in known_hosts is the job's id."""
    run.aws.mkdir(mode=0o700, exist_ok=True)
    write_atomic(run.aws / "known_hosts", f"{run.id} {public}\n")


def write_login(run: RunDir, settings: Aws, key: LoginKey, address: str) -> Ssh:
    """The rented machine as the SSH launcher wants to be told of a host."""
    lines = [
        f"Host {address}",
        f"  HostKeyAlias {run.id}",
        f"  User {settings.user}",
        f"  IdentityFile {plain(key.private)}",
        "  IdentitiesOnly yes",
        f"  UserKnownHostsFile {plain(run.aws / 'known_hosts')}",
        "  GlobalKnownHostsFile /dev/null",
        "  HostKeyAlgorithms ssh-ed25519",
        "Match all",
        f"  Include {plain(Path(settings.config_file)) if settings.config_file is not None else USERS_OWN}",
    ]
    write_atomic(run.aws / "ssh_config", "\n".join(lines) + "\n")
    return ssh_settings(run, settings, address)


def ssh_settings(run: RunDir, settings: Aws, address: str) -> Ssh:
    return Ssh(
        host=(address,),
        config_file=str(run.aws / "ssh_config"),
        folder=settings.folder,
        python=settings.python,
        setup=settings.setup,
        data="stage",
        checkpoints=settings.checkpoints,
        master_address=None,
        master_port=29400,
    )


def plain(path: Path) -> Path:
    """The path by a name that ssh can read in its configuration: itself, or a link to it whose name is ours."""
    if PLAIN.issuperset(str(path)):
        return path
    folder = private_folder()
    if folder is None:
        raise LaunchError(f"{path}: ssh's configuration can't name it, and no private folder can hold a link to it")
    link = folder / f"to-{hashlib.sha256(str(path).encode(errors='surrogateescape')).hexdigest()[:16]}"
    if not link.is_symlink():
        beside = link.with_name(f"{link.name}.{id(path):x}")
        beside.symlink_to(path)
        beside.replace(link)
    return link
