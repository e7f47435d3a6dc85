"""Keys of deepspeed.json that runjob writes itself, and the job key that decides each.

`rules.py` refuses them in `hardware.deepspeed`; the compiler, which writes them, checks itself against the same table.
An empty owner is a key that no job decides, with the reason in `WHY_FIXED`.
"""

from collections.abc import Mapping

# dotted key of deepspeed.json (it and everything below it) -> the job key that owns it
DERIVED_KEYS: dict[str, str] = {
    "train_batch_size": "training.global_batch",
    "train_micro_batch_size_per_gpu": "training.micro_batch and training.micro_tokens",
    "gradient_accumulation_steps": "training.global_batch and training.micro_batch",
    "optimizer": "training.optimizer",
    "scheduler": "training.schedule",
    "gradient_clipping": "training.gradient_clipping",
    "fp16": "training.precision",
    "bf16": "training.precision",
    "bfloat16": "training.precision",
    "amp": "training.precision",
    "torch_autocast": "training.precision",
    "data_types": "training.precision",
    "communication_data_type": "training.precision",
    "compile": "training.compile",
    "activation_checkpointing": "training.gradient_checkpointing",
    "seed": "seed",
    "steps_per_print": "training.log_every",
    "tensorboard": "tracking.tensorboard",
    "zero_optimization.stage": "hardware.zero",
    "zero_optimization.offload_optimizer": "hardware.offload.optimizer",
    "zero_optimization.cpu_offload": "hardware.offload.optimizer",
    "zero_optimization.offload_param": "hardware.offload.parameters",
    "zero_optimization.cpu_offload_params": "hardware.offload.parameters",
    "zero_optimization.stage3_param_persistence_threshold": "",
    "zero_optimization.param_persistence_threshold": "",
    "zero_allow_untested_optimizer": "",
    "zero_force_ds_cpu_optimizer": "",
    "managed_gradient_accumulation": "",
    "prescale_gradients": "",
    "gradient_predivide_factor": "",
    "data_efficiency": "",
    "curriculum_learning": "",
    "elasticity": "",
    "checkpoint": "",
}
_SUM = "the loss of a step is summed over its true tokens, and this would scale it again"
_PERSISTENT = "kept parameters and gathered ones would round differently, and a resumed run with them"
_ORDER = "batches are a function of seed and step, and this would change them behind the run's back"
WHY_FIXED: dict[str, str] = {
    "zero_optimization.stage3_param_persistence_threshold": _PERSISTENT,
    "zero_optimization.param_persistence_threshold": _PERSISTENT,
    "zero_allow_untested_optimizer": "the optimiser is runjob's",
    "zero_force_ds_cpu_optimizer": "the optimiser is runjob's",
    "managed_gradient_accumulation": "runjob decides itself where a step ends",
    "prescale_gradients": _SUM,
    "gradient_predivide_factor": _SUM,
    "data_efficiency": _ORDER,
    "curriculum_learning": _ORDER,
    "elasticity": "a resumed run may have other ranks without it",
    "checkpoint": "checkpoints are runjob's own, free of ranks and ZeRO stage",
}


def refuse_derived(path: str) -> str | None:
    """What to say of a key of `hardware.deepspeed` (dotted, relative to it) that is not the job's to set there.

    >>> refuse_derived("train_batch_size")
    'derived by runjob; set training.global_batch instead'
    >>> refuse_derived("wall_clock_breakdown") is None
    True
    """
    parts = path.split(".")
    for length in range(1, len(parts) + 1):
        key = ".".join(parts[:length])
        if key in DERIVED_KEYS:
            owner = DERIVED_KEYS[key]
            return (
                f"derived by runjob; set {owner} instead" if owner else f"fixed by runjob: {WHY_FIXED[key]}; delete it"
            )
    return None


def dotted_keys(tree: Mapping[str, object], above: str = "") -> list[str]:
    """Every key of nested mappings, dotted, the outer ones first."""
    found: list[str] = []
    for key, value in tree.items():
        here = f"{above}.{key}" if above else key
        found.append(here)
        if isinstance(value, Mapping):
            found += dotted_keys(value, here)
    return found
