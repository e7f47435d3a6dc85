"""Words that later versions will understand: answered as such, rather than as a puzzling unknown key."""

SAID = "reserved, not supported by this version"

# dotted path of the mapping ("" is the top) -> keys
RESERVED_KEYS: dict[str, frozenset[str]] = {
    "": frozenset(["extends", "matrix"]),
    "data": frozenset(["streaming", "disk_budget", "normalize", "token_budget", "sources"]),
    "training": frozenset(["micro_tokens"]),
    "hardware": frozenset(["slurm", "ssh", "aws"]),
    "tracking": frozenset(["wandb", "mlflow", "profile"]),
}

# dotted path of a `kind` or another choice -> values
RESERVED_VALUES: dict[str, frozenset[str]] = {
    "data.kind": frozenset(["parquet"]),
    "data.layout": frozenset(["lines"]),
    "data.split.kind": frozenset(["files"]),
    "data.tokenizer.kind": frozenset(["characters", "extended"]),
    "data.tokenizer.algorithm": frozenset(["wordpiece", "unigram"]),
    "model.init.kind": frozenset(["guide", "run"]),
    "model.init.architecture": frozenset(["bert", "canine", "deberta_v2", "modernbert", "mpnet"]),
    "objective.kind": frozenset(
        [
            "mlm",
            "char_ar",
            "plm",
            "token_classification",
            "relation_classification",
            "sequence_classification",
            "sentence_embedding",
        ]
    ),
}
