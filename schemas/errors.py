"""What can go wrong for a user, as one small tree. Raised where it is known, caught only in `runner.cli.main` and
`runner.worker.__main__`; a bug keeps its traceback.

    RunjobError              exit code 1
    ├── JobError             2: the job file, a --set value or an argument is wrong
    ├── MissingError         2: something the job needs is not here (GPU, model, data, compiler)
    │   └── NoRoomError      2: room on a disk
    ├── StateError           2: an order that the job's state forbids
    ├── NotFoundError        1: no such job id
    ├── StillRunningError    1: whoever waited for a job has waited long enough; the job goes on
    ├── LaunchError          1: a service or a host did not do what it was asked
    ├── DataError            1: the data are not what the job says
    ├── CheckpointError      1: a checkpoint is damaged, does not belong to this job, or can't be written
    ├── NumericsError        1: NaN, Inf or a spike before an optimiser step, or fp16 overflows for too long
    ├── HungError            1: no step was made for too long
    └── MemoryShortError     1: the memory of this machine or of a GPU was not enough
"""

from typing import ClassVar


class RunjobError(Exception):
    """Base of every error that a user may cause; the message says where, what, why, and what to do instead."""

    exit_code: ClassVar[int] = 1


class JobError(RunjobError):
    """One or many problems of a job; each line of the message is one of them."""

    exit_code = 2


class MissingError(RunjobError):
    exit_code = 2


class NoRoomError(MissingError):
    pass


class StateError(RunjobError):
    exit_code = 2


class NotFoundError(RunjobError):
    pass


class StillRunningError(RunjobError, TimeoutError):
    """Raised to programs alone: nobody at a terminal waits with a limit."""


class LaunchError(RunjobError):
    pass


class DataError(RunjobError):
    pass


class CheckpointError(RunjobError):
    pass


class NumericsError(RunjobError):
    pass


class HungError(RunjobError):
    pass


class MemoryShortError(RunjobError):
    pass
