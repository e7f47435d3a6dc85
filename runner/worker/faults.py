"""Fault points: places where a test may kill this process to prove that nothing is lost there. They can be set only
through the environment of a test, never through a job file, and cost one dictionary look-up otherwise."""

import os
import signal

VARIABLE = "RUNJOB_TEST_FAULT"
WAITS_VARIABLE = "RUNJOB_TEST_WAITS"


def fault_point(name: str, *, step: int) -> None:
    """SIGKILL of this process if the environment says RUNJOB_TEST_FAULT=`name`@`step`."""
    if os.environ.get(VARIABLE) == f"{name}@{step}":
        os.kill(os.getpid(), signal.SIGKILL)


def waits_s(usual: tuple[float, ...]) -> tuple[float, ...]:
    """How long to wait before each new try; a test that breaks things has less patience."""
    return tuple(map(float, os.environ[WAITS_VARIABLE].split())) if WAITS_VARIABLE in os.environ else usual
