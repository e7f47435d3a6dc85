"""How a global batch is cut: equal shares for the ranks, each share in whole micro batches."""


def batch_problem(global_batch: int, micro_batch: int | None, ranks: int, *, group: int = 1) -> str | None:
    """Why this global batch can't be cut so, with the nearest two that can, or None.

    A share smaller than `micro_batch` is one micro batch; without `micro_batch` any share can be cut (by tokens).
    `group` rows stay together (objective.group).

    >>> batch_problem(100, 8, 4)
    '100 is not a multiple of 32 (micro_batch 8 x 4 ranks); the nearest that work are 96 and 128'
    >>> batch_problem(16, 8, 4) is None
    True
    >>> batch_problem(64, 64, 4, group=32)
    '64 is not a multiple of 128 (objective.group 32 x 4 ranks); the smallest that works is 128'
    """
    share, left = divmod(global_batch, ranks)
    if not left and share % group == 0 and (micro_batch is None or share <= micro_batch or share % micro_batch == 0):
        return None
    if micro_batch is None or global_batch < micro_batch * ranks:
        unit, part = group * ranks, f"objective.group {group}" if group > 1 else ""
    else:
        unit, part = micro_batch * ranks, f"micro_batch {micro_batch}"
    whose = f"({part} x {_ranks(ranks)})" if part else f"({ranks} ranks)"
    below = global_batch // unit * unit
    works = f"the nearest that work are {below} and {below + unit}" if below else f"the smallest that works is {unit}"
    return f"{global_batch} is not a multiple of {unit} {whose}; {works}"


def _ranks(ranks: int) -> str:
    return "1 rank" if ranks == 1 else f"{ranks} ranks"
