"""What repositories of job files get: the real pre-commit, with the hook as .pre-commit-hooks.yaml offers it, in a
repository of its own."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT, Home
from tests.small_job import small_job

BAD = small_job().replace("clm", "clmm")


def git(folder: Path, home: Home, *words: str) -> str:
    """As somebody without any configuration of their own."""
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "init.defaultBranch=main"]
    env = {**home.env, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    done = subprocess.run(["git", *who, *words], cwd=folder, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def hooks(home, tmp_path: Path) -> Path:
    """The repository that a `repo:` names, as of today's working tree: pre-commit clones it."""
    folder = tmp_path / "runjob"
    folder.mkdir()
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", folder)
    git(folder, home, "init", "-q")
    git(folder, home, "add", ".")
    git(folder, home, "commit", "-qm", "hooks")
    return folder


@pytest.fixture
def theirs(home, hooks) -> Path:
    """Somebody's repository with a good job, and a file that is no job."""
    folder = home.path / "theirs"
    (folder / "jobs").mkdir(parents=True)
    (folder / "jobs" / "good.yaml").write_text(small_job())
    (folder / "other.yaml").write_text("a: 1\n")
    revision = git(hooks, home, "rev-parse", "HEAD")
    hook = f"repos:\n- repo: {hooks}\n  rev: {revision}\n  hooks:\n  - id: runjob-validate\n"
    (folder / ".pre-commit-config.yaml").write_text(hook)
    git(folder, home, "init", "-q")
    git(folder, home, "add", ".")
    return folder


def pre_commit(home: Home, folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    env = {**home.env, "PRE_COMMIT_HOME": str(home.cache / "pre-commit"), "GIT_CONFIG_GLOBAL": "/dev/null"}
    return subprocess.run(["pre-commit", *words], cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_a_commit_with_a_broken_job_is_stopped_and_one_without_passes(home, theirs):
    assert pre_commit(home, theirs, "install").returncode == 0
    git(theirs, home, "commit", "-qm", "a good job")  # would raise
    (theirs / "jobs" / "bad.yml").write_text(BAD)
    git(theirs, home, "add", ".")
    with pytest.raises(subprocess.CalledProcessError) as stopped:
        git(theirs, home, "commit", "-qm", "a bad job")
    assert "jobs/bad.yml:16:19: objective.kind: unknown kind `clmm`; did you mean `clm`?" in stopped.value.stderr
    assert git(theirs, home, "log", "--format=%s") == "a good job"


def test_the_hook_judges_job_files_and_no_others(home, theirs):
    (theirs / "other.yaml").write_text(BAD)
    git(theirs, home, "add", ".")
    done = pre_commit(home, theirs, "run", "--all-files")
    assert (done.returncode, "Passed" in done.stdout) == (0, True), done.stdout + done.stderr


def test_the_hook_can_be_tried_without_a_configuration(home, theirs, hooks):
    (theirs / "jobs" / "bad.yaml").write_text(BAD)
    git(theirs, home, "add", ".")
    done = pre_commit(home, theirs, "try-repo", str(hooks), "runjob-validate", "--all-files")
    assert (done.returncode, "jobs/bad.yaml:16:19" in done.stdout) == (1, True), done.stdout + done.stderr
