"""Words that other tools know and a job file does not: answered by name, rather than as a puzzling unknown key."""

# Keys that no version will understand but where the schema has them, and why
NEVER: dict[str, str] = {
    "trust_remote_code": "code that comes with a tokenizer, a data set or a teacher is never run, whatever its "
    "revision; delete the key (of a model it is model.init.trust_remote_code, beside the commit that it names)",
}

# What other training tools call a field -> where it stands in a job file
ELSEWHERE: dict[str, str] = {
    "batch_size": "training.global_batch",
    "train_batch_size": "training.global_batch",
    "gradient_accumulation_steps": "training.global_batch",
    "per_device_train_batch_size": "training.micro_batch",
    "per_device_eval_batch_size": "evaluation.micro_batch",
    "epochs": "training.length",
    "num_train_epochs": "training.length",
    "max_steps": "training.length",
    "lr": "training.learning_rate",
    "warmup_ratio": "training.schedule.warmup",
    "warmup_steps": "training.schedule.warmup",
    "weight_decay": "training.optimizer.weight_decay",
    "max_grad_norm": "training.gradient_clipping",
    "fp16": "training.precision",
    "bf16": "training.precision",
    "torch_compile": "training.compile",
    "logging_steps": "training.log_every",
    "save_steps": "training.checkpoint.every",
    "save_total_limit": "training.checkpoint.keep",
    "eval_steps": "evaluation.every",
    "block_size": "data.sequence_length",
    "max_length": "data.sequence_length",
    "max_seq_length": "data.sequence_length",
    "n_embd": "model.init.hidden_size",
    "n_layer": "model.init.num_hidden_layers",
    "n_head": "model.init.num_attention_heads",
    "n_positions": "model.init.max_position_embeddings",
    "model_name_or_path": "model.init.path",
}

# What other tools call a value -> the word for it here
CALLED: dict[str, str] = {
    "gpu": "cuda",
    "float32": "fp32",
    "float16": "fp16",
    "half": "fp16",
    "bfloat16": "bf16",
}
