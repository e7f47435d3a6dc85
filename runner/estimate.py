"""Numbers that a plan shows before anything runs, by arithmetic on the job: parameters (memory, time and cost join them
with the plan's own issue). Nothing here loads torch or asks the network; what can't be known is None."""

import json
from pathlib import Path

from runjob.schemas.job import Job, Model, PretrainedInit, PretrainedTokenizer, ScratchInit, TrainedTokenizer
from runjob.schemas.job import Tokenizer as TokenizerSection

# Vocabulary sizes of public tokenizers that jobs name, so that a plan needs no network
KNOWN_VOCABULARIES = {"openai-community/gpt2": 50257, "gpt2": 50257}


def count_parameters(job: Job) -> int | None:
    """Trainable parameters, tied tensors once; None where vocabulary or configuration can't be read here."""
    vocabulary = vocabulary_size(job.data.tokenizer)
    match job.model.init:
        case ScratchInit() as init:
            return None if vocabulary is None else gpt2_parameters(init, vocabulary)
        case PretrainedInit() as init:
            return pretrained_parameters(init)


def gpt2_parameters(init: ScratchInit, vocabulary: int) -> int:
    """Radford et al. 2019 as transformers builds it: tied head, biases everywhere, two norms a block, one at the end.

    >>> small = ScratchInit(kind="scratch", architecture="gpt2", hidden_size=768, num_hidden_layers=12,
    ...     num_attention_heads=12, intermediate_size=None, max_position_embeddings=1024, dropout=0.1)
    >>> gpt2_parameters(small, 50257)
    124439808
    """
    hidden = init.hidden_size
    inner = init.intermediate_size if init.intermediate_size is not None else 4 * hidden
    attention = hidden * 3 * hidden + 3 * hidden + hidden * hidden + hidden
    feed_forward = hidden * inner + inner + inner * hidden + hidden
    block = attention + feed_forward + 4 * hidden
    return (vocabulary + init.max_position_embeddings) * hidden + init.num_hidden_layers * block + 2 * hidden


def vocabulary_size(tokenizer: TokenizerSection) -> int | None:
    match tokenizer:
        case TrainedTokenizer():
            return tokenizer.vocab_size
        case PretrainedTokenizer():
            if tokenizer.path in KNOWN_VOCABULARIES:
                return KNOWN_VOCABULARIES[tokenizer.path]
            return local_vocabulary(Path(tokenizer.path) / "tokenizer.json")


def local_vocabulary(file: Path) -> int | None:
    """Entries of a tokenizer.json: its vocabulary and the added tokens that it does not hold."""
    if not file.is_file():
        return None
    content = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    known = set(vocabulary) if isinstance(vocabulary, dict) else {piece for piece, _ in vocabulary}
    return len(known | {token["content"] for token in content["added_tokens"]})


def pretrained_parameters(init: PretrainedInit) -> int | None:
    """Counted from the header of a local model.safetensors (its first eight bytes give the header's length)."""
    file = Path(init.path) / "model.safetensors"
    if not file.is_file():
        return None
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    total = 0
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        size = 1
        for extent in tensor["shape"]:
            size *= extent
        total += size
    return total


def describe_model(model: Model) -> str:
    """One line for the plan."""
    match model.init:
        case ScratchInit() as init:
            heads = f"{init.num_attention_heads} heads"
            return f"{init.architecture} from scratch, {init.num_hidden_layers} x {init.hidden_size}, {heads}"
        case PretrainedInit() as init:
            return f"weights of {init.path}"
