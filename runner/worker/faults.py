"""Fault points: places where a test may kill this process, or hold it up, to prove that nothing is lost there. They can
be set only through the environment of a test, never through a job file, and cost two dictionary look-ups otherwise."""

import os
import signal
import time

VARIABLE = "RUNJOB_TEST_FAULT"
HOLD_VARIABLE = "RUNJOB_TEST_HOLD"
WAITS_VARIABLE = "RUNJOB_TEST_WAITS"


def fault_point(name: str, *, step: int) -> None:
    """SIGKILL of this process if the environment says RUNJOB_TEST_FAULT=`name`@`step`; before that a wait of so many
    seconds, if it says RUNJOB_TEST_HOLD=`name`@`step` `seconds`."""
    held, _, seconds = os.environ.get(HOLD_VARIABLE, "").partition(" ")
    if held == f"{name}@{step}":
        time.sleep(float(seconds))
    if os.environ.get(VARIABLE) == f"{name}@{step}":
        os.kill(os.getpid(), signal.SIGKILL)


def waits_s(usual: tuple[float, ...]) -> tuple[float, ...]:
    """How long to wait before each new try; a test that breaks things has less patience."""
    return tuple(map(float, os.environ[WAITS_VARIABLE].split())) if WAITS_VARIABLE in os.environ else usual
