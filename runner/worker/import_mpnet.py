"""`runjob import --format annotated_mpnet`: a `.pt` that annotated-mpnet wrote, as a model directory for transformers.

    args           its options: a mapping, in older files an argparse.Namespace
    model_states   tensors; Q, K and V of a layer stand in one, `_orig_mod.` before each name if it was compiled

Sizes are read from the tensors; of the options only what no tensor tells: heads, activation, the place of the norms,
how far distances are told apart. What transformers' MPNet can't compute is refused, rather than written and wrong:
norms before the layers, padding elsewhere than at id 1, buckets of distances other than 32 up to 128 (theirs grow with
contexts above 512). The table of tokens, which they fill up to a multiple of 128, is cut to the tokenizer's.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, MPNetConfig, MPNetForMaskedLM
from transformers.utils.logging import disable_progress_bar

from runjob.runner.worker.export import export_model
from runjob.runner.worker.export_run import refuse_occupied
from runjob.runner.worker.foreign_pickle import read_pickle
from runjob.runner.worker.foreign_tensors import Tensors, refuse_foreign_tensors
from runjob.runner.worker.prompts import PLAIN
from runjob.schemas.errors import CheckpointError, MissingError, NotFoundError, RunjobError
from runjob.schemas.tokenizer_files import MPNET_PADDING

BEST = "best_checkpoint.pt"
COMPILED = "_orig_mod."
BODY = "sentence_encoder."
LAYER = "sentence_encoder.layers."
# Their name -> ours, outside of the layers
OUTSIDE = {
    "sentence_encoder.embed_tokens.weight": "mpnet.embeddings.word_embeddings.weight",
    "sentence_encoder.embed_positions.weight": "mpnet.embeddings.position_embeddings.weight",
    "sentence_encoder.emb_layer_norm.weight": "mpnet.embeddings.LayerNorm.weight",
    "sentence_encoder.emb_layer_norm.bias": "mpnet.embeddings.LayerNorm.bias",
    "sentence_encoder.relative_attention_bias.weight": "mpnet.encoder.relative_attention_bias.weight",
    "lm_head.dense.weight": "lm_head.dense.weight",
    "lm_head.dense.bias": "lm_head.dense.bias",
    "lm_head.layer_norm.weight": "lm_head.layer_norm.weight",
    "lm_head.layer_norm.bias": "lm_head.layer_norm.bias",
    "lm_head.bias": "lm_head.bias",
}
# The same inside of one
INSIDE = {
    "self_attn.out_proj": "attention.attn.o",
    "self_attn_layer_norm": "attention.LayerNorm",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
    "final_layer_norm": "output.LayerNorm",
}
TOKENS, DECODER = "sentence_encoder.embed_tokens.weight", "lm_head.weight"
# What transformers computes with, and what theirs is for contexts of up to 512
BUCKETS, FARTHEST, CONTEXT = 32, 128, 512


@dataclass(frozen=True, kw_only=True)
class Options:
    """Of their options those that no tensor tells."""

    heads: int
    activation: str
    norms_before: bool
    farthest: int
    padding: int
    tokenizer: str | None


def import_mpnet(source: Path, to: Path, *, trusted: bool, tokenizer: str | None) -> str:
    """Write the model directory; what was read, in words."""
    file = find_file(source)
    options, theirs = read_checkpoint(file, trusted=trusted)
    refuse_what_differs(file, options, theirs)
    words = open_tokenizer(file, tokenizer, options)
    tensors = renamed(file, theirs, vocabulary=len(words))
    config = config_of(options, tensors, words)
    refuse_foreign_tensors(file, tensors, lambda: MPNetForMaskedLM(config), family="an MPNet")
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="runjob-import-") as folder:
        words.save_pretrained(folder)
        export_model(tensors, config, tokenizer=Path(folder), target=to, card=card(file), generation=PLAIN)
    cut = theirs[TOKENS].shape[0] - len(words)
    return f"{file.name}" + (f", its table of tokens cut by {cut} rows that no token has" if cut else "")


def find_file(source: Path) -> Path:
    if source.is_file():
        return source
    if not source.is_dir():
        raise NotFoundError(f"{source}: no such file or directory")
    if (source / BEST).is_file():
        return source / BEST
    have = ", ".join(sorted(path.name for path in source.glob("*.pt"))[:8])
    raise CheckpointError(f"{source}: no {BEST} there; name " + (f"one of {have}" if have else "a .pt"))


def read_checkpoint(file: Path, *, trusted: bool) -> tuple[Options, Tensors]:
    advice = "if you trust whoever wrote it, add --trust-checkpoint"
    found = read_pickle(file, trusted=trusted, otherwise=advice)
    if not isinstance(found, Mapping) or not isinstance(found.get("model_states"), Mapping):
        have = ", ".join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
        raise CheckpointError(f"{file}: holds no model_states; found {have}")
    said = found.get("args")
    args = dict(said) if isinstance(said, Mapping) else vars(said) if isinstance(said, argparse.Namespace) else None
    if args is None:
        raise CheckpointError(f"{file}: holds no args, the options that it was trained with")
    tensors = {
        str(name).replace(COMPILED, ""): value.float()
        for name, value in found["model_states"].items()
        if isinstance(value, torch.Tensor)
    }
    if missing := sorted(name for name in OUTSIDE if name not in tensors):
        raise CheckpointError(f"{file}: model_states lacks {', '.join(missing[:5])} ({len(missing)} in all)")
    return read_options(file, args, tensors), tensors


def read_options(file: Path, args: Mapping[str, Any], tensors: Tensors) -> Options:
    """An option that older files lack is what it was before it was one."""
    heads = args.get("encoder_attention_heads")
    if not isinstance(heads, int):
        raise CheckpointError(f"{file}: args lacks encoder_attention_heads, which no tensor tells")
    context = tensors["sentence_encoder.embed_positions.weight"].shape[0] - MPNET_PADDING - 1
    # theirs: as many times 128 as the context has 512, in steps of 8
    grown = -(-max(FARTHEST, FARTHEST * context // CONTEXT) // 8) * 8
    farthest = args.get("relative_attention_max_distance")
    name = args.get("tokenizer_name")
    return Options(
        heads=heads,
        activation=str(args.get("activation_fn", "gelu")),
        norms_before=bool(args.get("normalize_before", False)),
        farthest=grown if farthest is None else int(farthest),
        padding=int(args.get("pad_token_id", MPNET_PADDING)),
        tokenizer=name if isinstance(name, str) else None,
    )


def refuse_what_differs(file: Path, options: Options, tensors: Tensors) -> None:
    """CheckpointError for what transformers' MPNet would compute in another way."""
    buckets = tensors["sentence_encoder.relative_attention_bias.weight"].shape[0]
    if options.norms_before:
        why = "was trained with --normalize-before, and transformers' MPNet has its norms behind the layers"
    elif options.padding != MPNET_PADDING:
        why = f"has id {options.padding} for padding, and transformers' MPNet takes {MPNET_PADDING}"
    elif (buckets, options.farthest) != (BUCKETS, FARTHEST):
        why = (
            f"tells distances apart by {buckets} buckets up to {options.farthest}, and transformers' MPNet computes "
            f"with {BUCKETS} up to {FARTHEST}, whatever its configuration says"
        )
    elif options.activation not in ("gelu", "relu"):
        why = f"has the activation {options.activation}, and gelu and relu are known here"
    elif any(name.startswith(f"{BODY}segment_embeddings.") for name in tensors):
        why = "has embeddings of segments, and transformers' MPNet has none"
    elif DECODER in tensors and not torch.equal(tensors[DECODER], tensors[TOKENS]):
        why = f"has a {DECODER} of its own, and transformers' MPNet ties it to the embeddings"
    else:
        return
    raise CheckpointError(f"{file}: {why}; its answers would be others")


def open_tokenizer(file: Path, named: str | None, options: Options) -> Any:  # noqa: ANN401 - transformers has no types
    """The one that is named, or that lies beside the file, or that its options name."""
    beside = file.parent / "tokenizer"
    wanted = named or (str(beside) if beside.is_dir() else options.tokenizer)
    if wanted is None:
        raise MissingError(f"{file}: names no tokenizer, and there is no tokenizer/ beside it; add --tokenizer DIR")
    try:
        return AutoTokenizer.from_pretrained(wanted, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise MissingError(
            f"{file}: its tokenizer {wanted} can't be loaded here; add --tokenizer DIR with a local copy\n"
            f"  {str(error).splitlines()[0]}"
        ) from error


def renamed(file: Path, theirs: Tensors, *, vocabulary: int) -> Tensors:
    """Their tensors under the names of transformers."""
    tensors = {ours: theirs[name] for name, ours in OUTSIDE.items()}
    table = "mpnet.embeddings.word_embeddings.weight"
    if tensors[table].shape[0] < vocabulary:
        rows = tensors[table].shape[0]
        raise CheckpointError(f"{file}: {rows} rows for tokens, and the tokenizer has {vocabulary}; it is another's")
    for name in (table, "lm_head.bias"):
        tensors[name] = tensors[name][:vocabulary].clone()
    for name, value in theirs.items():
        if not name.startswith(LAYER):
            continue
        number, _, inner = name.removeprefix(LAYER).partition(".")
        stem, _, kind = inner.rpartition(".")
        ours = f"mpnet.encoder.layer.{number}."
        if inner in ("self_attn.in_proj_weight", "self_attn.in_proj_bias"):
            kind = inner.removeprefix("self_attn.in_proj_")
            for part, piece in zip("qkv", value.chunk(3), strict=True):
                tensors[f"{ours}attention.attn.{part}.{kind}"] = piece.clone()
        elif stem in INSIDE:
            tensors[f"{ours}{INSIDE[stem]}.{kind}"] = value
        else:
            raise CheckpointError(f"{file}: {name} is no tensor of MPNet")
    return tensors


def config_of(options: Options, tensors: Tensors, words: Any) -> MPNetConfig:  # noqa: ANN401
    vocabulary, width = tensors["mpnet.embeddings.word_embeddings.weight"].shape
    layers = {name.split(".")[3] for name in tensors if name.startswith("mpnet.encoder.layer.")}
    inner = tensors.get("mpnet.encoder.layer.0.intermediate.dense.weight")
    return MPNetConfig(
        architectures=[MPNetForMaskedLM.__name__],
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=len(layers),
        num_attention_heads=options.heads,
        intermediate_size=4 * width if inner is None else inner.shape[0],
        hidden_act=options.activation,
        max_position_embeddings=tensors["mpnet.embeddings.position_embeddings.weight"].shape[0],
        layer_norm_eps=1e-5,
        bos_token_id=words.cls_token_id,
        eos_token_id=words.sep_token_id,
    )


def card(file: Path) -> str:
    return (
        f"# {file.stem}\n\nAn MPNet, imported from a checkpoint of annotated-mpnet by `runjob import`. How it was "
        "trained is not known here.\n"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="runjob import", description="Read the checkpoint of another program.")
    parser.add_argument("source", type=Path, help="the .pt, or the directory that it lies in")
    parser.add_argument("--to", type=Path, required=True, help="where the model directory is to be")
    parser.add_argument("--tokenizer", help="a tokenizer's directory or name (default: as the checkpoint says)")
    parser.add_argument("--trust-checkpoint", action="store_true", help="read it even if that may run code")
    options = parser.parse_args(arguments)
    disable_progress_bar()
    to = options.to.absolute()
    try:
        refuse_occupied(to)
        source = options.source.absolute()
        said = import_mpnet(source, to, trusted=options.trust_checkpoint, tokenizer=options.tokenizer)
    except RunjobError as error:
        print(f"runjob: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{to}: loads with AutoModelForMaskedLM; from {said}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
