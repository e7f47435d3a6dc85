"""`runjob import --format canine_mlm`: what the canine-mlm scripts wrote, as a model directory of ours.

    v1   a directory of the Trainer: one model.safetensors with canine.* and mlm_head.{0,2,3}.*, no configuration
    v2   a CanineModel of transformers beside training_state.bin, whose mlm_head_state_dict holds {0,2,3}.*

Where there is no configuration, sizes are read from the tensors; what no tensor tells (attention heads, the width of
the local attention) is CANINE's as released: heads of 64. A pickle is read with torch's weights_only, which runs no
code; the argparse.Namespace that v2 puts into it is allowed by name. Anything else is refused with what was found.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AddedToken, CanineConfig, CanineTokenizer
from transformers.utils.logging import disable_progress_bar

from runjob.runner.worker.export import WEIGHTS, export_model
from runjob.runner.worker.export_run import refuse_occupied
from runjob.runner.worker.foreign_pickle import read_pickle
from runjob.runner.worker.foreign_tensors import Tensors, refuse_foreign_tensors
from runjob.runner.worker.models.canine import CanineForMaskedLM
from runjob.runner.worker.prompts import PLAIN
from runjob.schemas.errors import CheckpointError, NotFoundError, RunjobError

STATE = "training_state.bin"
# Their Sequential of linear, gelu, norm, linear -> ours
HEAD = {"0": "dense", "2": "norm", "3": "decoder"}
# CANINE as released: 768 wide, 12 heads
HEAD_WIDTH = 64
# Theirs has one, fed by nothing in masked training; ours has none
POOLER = "canine.pooler."

# They hide characters behind CANINE's own CLS; the tokenizer that is written says so, and `fill-mask` goes by it
THEIR_MASK = 0xE000


def import_canine(source: Path, to: Path) -> str:
    """Write the model directory; where it came from, in words."""
    found, layout = read_checkpoint(source)
    tensors = {name: tensor.float() for name, tensor in found.items() if not name.startswith(POOLER)}
    config = read_config(source, tensors)
    refuse_foreign_tensors(source, tensors, lambda: CanineForMaskedLM(config), family="a CANINE")
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="runjob-import-") as tokenizer:
        CanineTokenizer(mask_token=AddedToken(chr(THEIR_MASK), special=True)).save_pretrained(tokenizer)
        export_model(tensors, config, tokenizer=Path(tokenizer), target=to, card=card(source, layout), generation=PLAIN)
    return layout


def read_checkpoint(source: Path) -> tuple[Tensors, str]:
    """Their tensors under our names, and which of the two layouts it was."""
    if not source.is_dir():
        raise NotFoundError(f"{source}: no such directory")
    if not (source / WEIGHTS).is_file():
        have = ", ".join(sorted(path.name for path in source.iterdir())[:8]) or "nothing"
        raise CheckpointError(f"{source}: no {WEIGHTS} there; found {have}")
    try:
        body = load_file(source / WEIGHTS)
    except SafetensorError as error:
        raise CheckpointError(f"{source / WEIGHTS}: can't be read: {error}") from error
    if any(name.startswith("mlm_head.") for name in body):
        head = {name.removeprefix("mlm_head."): body.pop(name) for name in list(body) if name.startswith("mlm_head.")}
        return body | our_head(head, source / WEIGHTS), "v1"
    if not (source / STATE).is_file():
        raise CheckpointError(
            f"{source}: neither of the two layouts of canine_mlm: {WEIGHTS} has no mlm_head.* (it has "
            f"{', '.join(sorted(body)[:3])}, ...), and there is no {STATE} beside it"
        )
    state = read_state(source / STATE)
    prefixed = {name if name.startswith("canine.") else f"canine.{name}": tensor for name, tensor in body.items()}
    return prefixed | our_head(state, source / STATE), "v2"


def read_state(file: Path) -> Tensors:
    """The head of v2, out of a pickle that may hold tensors, plain values and an argparse.Namespace."""
    advice = "save it again without them, its mlm_head_state_dict is all that is read"
    state = read_pickle(file, trusted=False, otherwise=advice)
    if not isinstance(state, dict) or not isinstance(state.get("mlm_head_state_dict"), Mapping):
        have = ", ".join(map(str, state)) if isinstance(state, dict) else type(state).__name__
        raise CheckpointError(f"{file}: holds no mlm_head_state_dict; found {have}")
    return dict(state["mlm_head_state_dict"])


def our_head(theirs: Tensors, file: Path) -> Tensors:
    wanted = {f"{number}.{kind}" for number in HEAD for kind in ("weight", "bias")}
    if set(theirs) != wanted:
        raise CheckpointError(
            f"{file}: the head's tensors are {', '.join(sorted(theirs))}; wanted {', '.join(sorted(wanted))}"
        )
    return {f"head.{HEAD[name[0]]}{name[1:]}": tensor for name, tensor in theirs.items()}


def read_config(source: Path, tensors: Tensors) -> CanineConfig:
    file = source / "config.json"
    config = CanineConfig.from_dict(written_config(file)) if file.is_file() else config_of(source, tensors)
    config.character_table = int(tensors["head.decoder.weight"].shape[0])
    config.architectures = [CanineForMaskedLM.__name__]
    return config


def written_config(file: Path) -> dict[str, Any]:
    """What their config.json says, of a CANINE."""
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no UTF-8
        raise CheckpointError(f"{file}: can't be read as JSON: {error}") from error
    if not isinstance(said, dict) or said.get("model_type") != "canine":
        kind = repr(said.get("model_type")) if isinstance(said, dict) else "none at all"
        raise CheckpointError(f"{file}: model_type {kind}, and canine_mlm is of canine")
    return said


def config_of(source: Path, tensors: Tensors) -> CanineConfig:
    """Sizes as the tensors have them."""
    embeddings = "canine.char_embeddings."
    names = {
        "positions": f"{embeddings}char_position_embeddings.weight",
        "kinds": f"{embeddings}token_type_embeddings.weight",
        "buckets": f"{embeddings}HashBucketCodepointEmbedder_0.weight",
        "inner": "canine.encoder.layer.0.intermediate.dense.weight",
        "down": "canine.chars_to_molecules.conv.weight",
        "up": "canine.projection.conv.weight",
    }
    missing = sorted(name for name in names.values() if name not in tensors)
    if missing:
        raise CheckpointError(f"{source / WEIGHTS}: lacks {', '.join(missing)}, so it is no CANINE")
    shapes = {name: tuple(tensors[where].shape) for name, where in names.items()}
    width = shapes["positions"][1]
    if width % HEAD_WIDTH:
        raise CheckpointError(
            f"{source}: no config.json, and a width of {width} is no multiple of {HEAD_WIDTH}, the size of CANINE's "
            "heads; put the config.json of the model that was trained beside the weights"
        )
    layers = {name.split(".")[3] for name in tensors if name.startswith("canine.encoder.layer.")}
    return CanineConfig(
        hidden_size=width,
        num_hidden_layers=len(layers),
        num_attention_heads=width // HEAD_WIDTH,
        intermediate_size=shapes["inner"][0],
        # their head has a class for each position; the table itself has a row for each hash bucket
        max_position_embeddings=min(tensors["head.decoder.weight"].shape[0], shapes["positions"][0]),
        type_vocab_size=shapes["kinds"][0],
        downsampling_rate=shapes["down"][2],
        upsampling_kernel_size=shapes["up"][2],
        num_hash_functions=sum(name.startswith(f"{embeddings}HashBucketCodepointEmbedder_") for name in tensors),
        num_hash_buckets=shapes["buckets"][0],
    )


def card(source: Path, layout: str) -> str:
    return (
        f"# {source.name}\n\nA CANINE with a head that predicts characters, imported from a checkpoint of the layout "
        f"canine_mlm ({layout}) by `runjob import`. How it was trained is not known here.\n\n"
        "That layout hides characters behind U+E000, CANINE's own mark for the beginning of a text, and the tokenizer\n"
        "here has it for its mask. A job that trains this model on hides them behind U+E003, which is CANINE's mask.\n"
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="runjob import", description="Read the checkpoint of another program.")
    parser.add_argument("source", type=Path, help="the directory that the other program wrote")
    parser.add_argument("--format", choices=("canine_mlm",), required=True, help="what wrote it")
    parser.add_argument("--to", type=Path, required=True, help="where the model directory is to be")
    options = parser.parse_args(arguments)
    disable_progress_bar()
    to = options.to.absolute()
    try:
        refuse_occupied(to)
        layout = import_canine(options.source.absolute(), to)
    except RunjobError as error:
        print(f"runjob: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{to}: loads with AutoModelForMaskedLM; every tensor of {options.source} ({layout}) is in it, answers equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
