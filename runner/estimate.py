"""Numbers that a plan shows before anything runs, by arithmetic on the job: parameters (memory, time and cost join them
with the plan's own issue). Nothing here loads torch or asks the network; what can't be known is None."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

from runjob.data.samples import PREFIX, locate, locate_model, locate_tokenizer
from runjob.schemas.characters import CODE_POINTS
from runjob.schemas.job import Job
from runjob.schemas.job_data import (
    CharacterTokenizer,
    PretrainedTokenizer,
    Trained,
    TrainedTokenizer,
    TrainedUnigram,
    TrainedWordPiece,
)
from runjob.schemas.job_data import Tokenizer as TokenizerSection
from runjob.schemas.job_model import (
    CharAR,
    Classification,
    FinishedInit,
    GuideInit,
    Model,
    RelationClassification,
    RunInit,
    ScratchBert,
    ScratchCanine,
    ScratchDebertaV2,
    ScratchGpt2,
    ScratchInit,
    ScratchModernBert,
    ScratchMPNet,
    SentenceEmbedding,
    SequenceClassification,
    StudentInit,
    TileInit,
)
from runjob.schemas.json_object import read_object
from runjob.schemas.tags import PREFIXES
from runjob.schemas.teacher import gated_size
from runjob.schemas.tokenizer_files import read_tokenizer

# Buckets of relative distance, whatever MPNet's configuration says: transformers computes with these
MPNET_BUCKETS = 32
# The released CANINE with the head that objective mlm gives it, and without its pooler (canine_parameters)
KNOWN_PARAMETERS = {"google/canine-c": 144_683_776, "google/canine-s": 144_683_776}
# fp32 weight and both moments of Adam: of a checkpoint, and of the copy that is written while training goes on
BYTES_SAVED = 3 * 4
# Vocabulary sizes of public tokenizers that jobs name, so that a plan needs no network
KNOWN_VOCABULARIES = {
    "openai-community/gpt2": 50257,
    "gpt2": 50257,
    "answerdotai/ModernBERT-base": 50368,
    "microsoft/mpnet-base": 30527,
    "nomic-ai/modernbert-embed-base": 50368,
}

# [E1] [/E1] [E2] [/E2], which a tokenizer gets for pairs (data/pairs.py)
MARKERS = 4


def count_parameters(job: Job) -> int | None:
    """Trainable parameters, tied tensors once; None where vocabulary or configuration can't be read here."""
    vocabulary = vocabulary_size(job.data.tokenizer)
    if isinstance(job.model.init, FinishedInit):
        counted = pretrained_parameters(job.model.init)
        return None if counted is None else counted + vector_layer(job)
    if vocabulary is None:
        return None
    init = job.model.init
    if isinstance(job.objective, CharAR) and isinstance(init, ScratchCanine):
        return scratch_parameters(init, vocabulary) + order_parameters(init)
    if isinstance(job.objective, RelationClassification):
        vocabulary += MARKERS
    if isinstance(job.objective, Classification):
        return scratch_parameters(init, vocabulary) - text_head(init, vocabulary) + label_head(init, job.objective)
    if isinstance(job.objective, SentenceEmbedding):
        body = scratch_parameters(init, vocabulary) - text_head(init, vocabulary) - last_dense(init)
        return body + vector_layer(job)
    return scratch_parameters(init, vocabulary)


def vector_layer(job: Job) -> int:
    """Behind the vectors of a network that is not as wide as its teacher (worker/models/dense.py); nothing where that
    lies elsewhere."""
    objective, init = job.objective, job.model.init
    if not isinstance(objective, SentenceEmbedding) or objective.taught_by is None:
        return 0
    width = width_in(init.path) if isinstance(init, FinishedInit) else init.hidden_size
    numbers = width_in(locate_model(objective.taught_by))
    return 0 if width is None or numbers in (None, width) else (width + 1) * numbers


def width_in(directory: str) -> int | None:
    width = read_object(Path(directory) / "config.json").get("hidden_size")
    return width if isinstance(width, int) else None


def last_dense(init: ScratchInit | StudentInit) -> int:
    """What ModernBERT's heads of labels keep of that of text, and vectors do without: a square and a norm."""
    return init.hidden_size * (init.hidden_size + 1) if isinstance(init, ScratchModernBert | StudentInit) else 0


def text_head(init: ScratchInit | StudentInit, vocabulary: int) -> int:
    """What a head of labels does without: all of the head but the table of tokens; of ModernBERT's its bias alone."""
    if isinstance(init, ScratchModernBert | StudentInit):
        return vocabulary
    if isinstance(init, ScratchCanine):
        # its table of characters is tied to nothing
        return (
            init.hidden_size * init.hidden_size + 3 * init.hidden_size + (init.hidden_size + 1) * init.character_table
        )
    if isinstance(init, ScratchMPNet):
        vocabulary = -(-vocabulary // init.vocabulary_multiple) * init.vocabulary_multiple
    return init.hidden_size * init.hidden_size + init.hidden_size + 2 * init.hidden_size + vocabulary


def label_head(init: ScratchInit | StudentInit, objective: Classification) -> int:
    """A row and a bias for each output; of documents a dense layer before it, which ModernBERT has anyway."""
    outputs = (init.hidden_size + 1) * label_outputs(objective)
    if isinstance(objective, SequenceClassification) and not isinstance(init, ScratchModernBert | StudentInit):
        return outputs + (init.hidden_size + 1) * init.hidden_size
    return outputs


def label_outputs(objective: Classification) -> int:
    """One for each tag, for each class of documents, or for each class of pairs at either mark."""
    if isinstance(objective, SequenceClassification):
        return len(objective.labels)
    if isinstance(objective, RelationClassification):
        return 2 * (1 + len(objective.labels))
    return 1 + len(PREFIXES[objective.scheme]) * len(objective.labels)


def scratch_parameters(init: ScratchInit | StudentInit, vocabulary: int) -> int:
    """As transformers builds each family, head included, tied tensors once."""
    match init:
        case ScratchGpt2():
            return gpt2_parameters(init, vocabulary)
        case ScratchCanine():
            return canine_parameters(init)
        case ScratchModernBert() | GuideInit() | TileInit():
            return modernbert_parameters(init, vocabulary)
        case ScratchBert():
            # two kinds of segment besides the positions
            embeddings = (init.max_position_embeddings + 2) * init.hidden_size
        case ScratchMPNet():
            # two rows of the position table stand before the first position
            embeddings = (init.max_position_embeddings + 2) * init.hidden_size
            embeddings += MPNET_BUCKETS * init.num_attention_heads
            vocabulary = -(-vocabulary // init.vocabulary_multiple) * init.vocabulary_multiple
        case ScratchDebertaV2():
            # no positions; a table of distances to either side, and its norm
            embeddings = 2 * init.position_buckets * init.hidden_size + 2 * init.hidden_size
    return embeddings + encoder_parameters(init, vocabulary)


def encoder_parameters(init: ScratchBert | ScratchMPNet | ScratchDebertaV2, vocabulary: int) -> int:
    """Tokens and their norm, blocks of four square matrices and two others with biases and two norms, and a head of one
    more square, a norm and a bias for each token."""
    hidden = init.hidden_size
    inner = init.intermediate_size if init.intermediate_size is not None else 4 * hidden
    block = 4 * (hidden * hidden + hidden) + 2 * hidden * inner + inner + hidden + 4 * hidden
    head = hidden * hidden + hidden + 2 * hidden + vocabulary
    return vocabulary * hidden + 2 * hidden + init.num_hidden_layers * block + head


def modernbert_parameters(init: ScratchModernBert | StudentInit, vocabulary: int) -> int:
    """No biases but the head's; the feed-forward layers are gated, and the first block has one norm only."""
    hidden, inner = init.hidden_size, gated_size(init)
    block = 4 * hidden * hidden + 3 * hidden * inner + 2 * hidden
    head = hidden * hidden + hidden + vocabulary
    return vocabulary * hidden + hidden + init.num_hidden_layers * block + head


def canine_parameters(init: ScratchCanine) -> int:
    """Hashed embeddings, which together are as wide as the network, positions, 16 kinds of segment and a norm; a block
    before and one behind the deep ones; two convolutions over 4 places with their norms, the second of twice the
    width; a head that is tied to nothing.

    >>> released = ScratchCanine(kind="scratch", architecture="canine", hidden_size=768, num_hidden_layers=12,
    ...     num_attention_heads=12, intermediate_size=None, max_position_embeddings=2048, dropout=0.1,
    ...     num_hash_functions=8, num_hash_buckets=16384, character_table=16384)
    >>> canine_parameters(released)  # the encoder's 132,082,944 without its pooler's 590,592, and the head
    144683776
    """
    hidden = init.hidden_size
    inner = init.intermediate_size if init.intermediate_size is not None else 4 * hidden
    embeddings = (2 * init.num_hash_buckets + 16) * hidden + 2 * hidden
    block = 4 * (hidden * hidden + hidden) + 2 * hidden * inner + inner + hidden + 4 * hidden
    convolutions = (4 + 8) * hidden * hidden + 2 * (hidden + 2 * hidden)
    head = hidden * hidden + hidden + 2 * hidden + (hidden + 1) * init.character_table
    return embeddings + (init.num_hidden_layers + 2) * block + convolutions + head


def order_parameters(init: ScratchCanine) -> int:
    """What `char_ar` adds to CANINE (runner/worker/models/canine_ordered.py): a blank, a join of state and character
    with its norm, a block."""
    hidden = init.hidden_size
    inner = init.intermediate_size if init.intermediate_size is not None else 4 * hidden
    block = 4 * (hidden * hidden + hidden) + 2 * hidden * inner + inner + hidden + 4 * hidden
    return hidden + (2 * hidden * hidden + hidden + 2 * hidden) + block


def gpt2_parameters(init: ScratchGpt2, vocabulary: int) -> int:
    """Radford et al. 2019 as transformers builds it: tied head, biases everywhere, two norms a block, one at the end.

    >>> small = ScratchGpt2(kind="scratch", architecture="gpt2", hidden_size=768, num_hidden_layers=12,
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
    """With the terms, as if none of them were one token already: which are, preparing tells."""
    if isinstance(tokenizer, CharacterTokenizer):
        return CODE_POINTS
    size = base_vocabulary(tokenizer)
    return None if size is None else size + count_terms(tokenizer.terms.values())


def count_terms(files: Iterable[str]) -> int:
    """Different lines of the files that are here; what is missing is said elsewhere."""
    terms: set[str] = set()
    for name in files:
        path = locate(name) if name.startswith(PREFIX) else Path(name)
        if path.is_file():
            raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            terms.update(line.strip() for line in raw.decode(errors="replace").split("\n"))
    return len(terms - {""})


def base_vocabulary(tokenizer: PretrainedTokenizer | Trained) -> int | None:
    match tokenizer:
        case TrainedTokenizer() | TrainedWordPiece() | TrainedUnigram():
            return tokenizer.vocab_size
        case PretrainedTokenizer():
            if tokenizer.path in KNOWN_VOCABULARIES:
                return KNOWN_VOCABULARIES[tokenizer.path]
            read = read_tokenizer(Path(locate_tokenizer(tokenizer.path)))
            return None if read is None else read.size


def pretrained_parameters(init: FinishedInit) -> int | None:
    """Counted from the header of a local model.safetensors (its first eight bytes give the header's length)."""
    if init.path in KNOWN_PARAMETERS:
        return KNOWN_PARAMETERS[init.path]
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


def checkpoint_bytes(parameters: int) -> int:
    """Size of a checkpoint, and of the copy in the main memory of rank 0's machine from which it is written.

    >>> checkpoint_bytes(124_439_808)
    1493277696
    """
    return BYTES_SAVED * parameters


def describe_model(model: Model) -> str:
    """One line for the plan."""
    init = model.init
    if isinstance(init, FinishedInit):
        return f"weights of the run {init.id}" if isinstance(init, RunInit) else f"weights of {init.path}"
    heads = f"{init.num_attention_heads} heads"
    if isinstance(init, GuideInit | TileInit):
        sizes = f"{init.num_hidden_layers} x {init.hidden_size}"
        return f"modernbert from {init.teacher} ({init.kind}), {sizes}, {heads}"
    return f"{init.architecture} from scratch, {init.num_hidden_layers} x {init.hidden_size}, {heads}"
