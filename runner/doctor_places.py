"""What lies beyond this machine: the Hub, hosts by ssh, a Slurm cluster. None of them is needed by every job, so
nothing here fails; a service that does not answer costs a few seconds."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

from runjob.runner.doctor import Finding, ok, warn

PATIENCE_S = 10.0


def look_at_hub() -> Finding:
    from runjob.runner.needs import hub_answers
    from runjob.schemas.hub_copy import hub_cache

    token = "with a token" if token_is_there() else "without a token"
    if os.environ.get("HF_HUB_OFFLINE", "") in ("1", "true", "TRUE"):
        return ok("hub", f"switched off by HF_HUB_OFFLINE; copies are under {hub_cache()}")
    if importlib.util.find_spec("huggingface_hub") is None:
        return warn("hub", "not asked: the package huggingface_hub is not installed", "pip install huggingface_hub")
    if hub_answers():
        return ok("hub", f"answers, {token}")
    remedy = f"check the network or HF_ENDPOINT; without it, put copies under {hub_cache()} and export HF_HUB_OFFLINE=1"
    return warn("hub", f"does not answer, {token}", remedy)


def token_is_there() -> bool:
    """Where huggingface_hub looks for one. It is not read."""
    if os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN"):
        return True
    root = os.environ.get("HF_HOME") or str(Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface")
    return Path(os.environ.get("HF_TOKEN_PATH") or f"{root}/token").expanduser().is_file()


def look_at_ssh() -> Finding:
    if shutil.which("ssh") is None:
        return warn("ssh", "no ssh: --launcher ssh and aws do not work", "apt-get install openssh-client")
    folder = Path("~/.ssh").expanduser()
    known = folder / "known_hosts"
    hosts = len(known.read_bytes().splitlines()) if known.is_file() else 0
    keys = sorted(path.name for path in folder.glob("id_*") if path.suffix != ".pub") if folder.is_dir() else []
    said = f"{hosts} known host key(s), {agent_keys()}, keys in files: {', '.join(keys) or 'none'}"
    return ok("ssh", said)


def agent_keys() -> str:
    if not os.environ.get("SSH_AUTH_SOCK") or shutil.which("ssh-add") is None:
        return "no agent"
    try:
        answer = subprocess.run(["ssh-add", "-l"], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        return "an agent that does not answer"
    # 1: it holds none; 2: nobody listens
    held = {0: f"an agent with {len(answer.stdout.splitlines())} key(s)", 1: "an agent without keys"}
    return held.get(answer.returncode, "an agent that does not answer")


def look_at_slurm() -> Finding:
    sinfo = shutil.which("sinfo")
    if sinfo is None:
        return ok("slurm", "none here: --launcher slurm is for a login node")
    try:
        answer = subprocess.run(
            [sinfo, "--noheader", "--format=%P %a %D"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return warn(
            "slurm", f"sinfo gave no answer within {PATIENCE_S:.0f} s", "ask whether slurmctld runs: scontrol ping"
        )
    if answer.returncode != 0:
        last = answer.stderr.strip().splitlines()[-1:]
        return warn("slurm", f"sinfo fails: {''.join(last)}", "ask whether slurmctld runs: scontrol ping")
    rows = [line.split() for line in answer.stdout.splitlines() if line.strip()]
    if not rows:
        return warn("slurm", "no partition is open to you", "ask for an account: sacctmgr show associations user=$USER")
    return ok("slurm", ", ".join(f"{name} ({state}, {nodes} nodes)" for name, state, nodes in rows))
