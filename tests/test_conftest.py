"""The fixtures keep their word: detached processes are found and ended, and the caller's environment stays outside."""

import subprocess
import sys


def test_a_process_that_detached_itself_is_found_and_ended(home, processes):
    # setsid and a parent that ends at once: what a supervisor does.
    detach = (
        "import subprocess, sys\n"
        "sleeper = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
        "print(subprocess.Popen(sleeper, start_new_session=True, stdout=-3, stderr=-3).pid)"  # -3: DEVNULL
    )
    made = subprocess.run([sys.executable, "-c", detach], env=home.env, capture_output=True, text=True, check=True)
    assert processes.alive() == [int(made.stdout)]
    processes.end_all()
    assert processes.alive() == []


def test_a_process_of_another_home_is_left_alone(processes, tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True)
    assert other.pid not in processes.alive()
    other.communicate("\n")


def test_variables_of_the_caller_do_not_reach_a_test(monkeypatch, request):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("RUNJOB_HOME", "/elsewhere")
    home = request.getfixturevalue("home")
    assert not {"WANDB_MODE", "SLURM_JOB_ID"} & set(home.env)
    assert home.env["RUNJOB_HOME"] == str(home.runs)
    assert home.env["HF_HUB_OFFLINE"] == "1"
