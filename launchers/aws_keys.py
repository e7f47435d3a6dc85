"""Two key pairs: the one we log in with, made once for each RUNJOB_HOME, and the host key of each machine we rent.

The private half of the first never leaves this machine. The second is made here before the machine exists and handed
over in its user data, so that the very first connection is checked against a key we know: no host is trusted on sight.
"""

import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from runjob.schemas.errors import MissingError

FOLDER = ".aws"


@dataclass(frozen=True, kw_only=True)
class LoginKey:
    """`name` is what EC2 calls it: it holds a digest of the public key, so the same name is always the same key."""

    name: str
    private: Path
    public: str


@dataclass(frozen=True, kw_only=True)
class HostKey:
    private: str
    public: str


def login_key(home: Path) -> LoginKey:
    """The key pair of this RUNJOB_HOME, made if there is none. Of two commands that make one at once, one wins."""
    folder = home / FOLDER
    if not folder.exists():
        home.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".aws-", dir=home))
        make_pair(beside / "id_ed25519", "runjob")
        try:
            beside.rename(folder)
        except OSError:
            shutil.rmtree(beside)
            if not folder.exists():
                raise
    public = (folder / "id_ed25519.pub").read_text(encoding="ascii").strip()
    digest = hashlib.sha256(public.split()[1].encode()).hexdigest()[:12]
    return LoginKey(name=f"runjob-{digest}", private=folder / "id_ed25519", public=public)


def new_host_key() -> HostKey:
    """A host key that exists in memory only; its folder lives as long as ssh-keygen needs it."""
    with tempfile.TemporaryDirectory(prefix="runjob-") as folder:
        file = Path(folder) / "host"
        make_pair(file, "host")
        public = " ".join(file.with_suffix(".pub").read_text(encoding="ascii").split()[:2])
        return HostKey(private=file.read_text(encoding="ascii"), public=public)


def make_pair(file: Path, comment: str) -> None:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise MissingError("ssh-keygen is not installed here: apt-get install openssh-client")
    make = [program, "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(file)]
    done = subprocess.run(make, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingError(f"ssh-keygen could not make a key at {file}: {done.stderr.strip()}")
    file.chmod(0o600)
