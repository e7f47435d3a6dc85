"""`export` and `import`: models that leave for other programs, and models that come from them. The work is the
worker's; here it is started."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from runjob.runner.command import Command
from runjob.runner.commands_model import model_place, require_fetched, run_worker
from runjob.runner.runs import checkpoint_steps
from runjob.schemas.errors import JobError
from runjob.schemas.run import find_run, home


def run_export(args: Namespace) -> int:
    # a checkpoint can be taken out before there is a model
    source = model_place(args.model) if args.step is None else checkpoint_place(args.model)
    words = [str(source), "--to", args.to, "--format", args.format]
    words += ["--step", args.step] if args.step is not None else []
    words += ["--length", *map(str, args.length)] if args.length else []
    return run_worker("export_run", words)


def run_import(args: Namespace) -> int:
    if args.format == "canine_mlm":
        if args.tokenizer is not None or args.trust_checkpoint:
            raise JobError("--tokenizer and --trust-checkpoint are for --format annotated_mpnet; leave them out")
        return run_worker("import_canine", [args.path, "--format", args.format, "--to", args.to])
    words = [args.path, "--to", args.to]
    words += ["--tokenizer", args.tokenizer] if args.tokenizer is not None else []
    words += ["--trust-checkpoint"] if args.trust_checkpoint else []
    return run_worker("import_mpnet", words)


def checkpoint_place(wanted: str) -> Path:
    if Path(wanted).is_dir():
        return Path(wanted)
    run = find_run(home(), wanted)
    if not checkpoint_steps(run):
        require_fetched(run, "checkpoint")
    return run.path


def configure_export(parser: ArgumentParser) -> None:
    parser.add_argument("model", metavar="ID|DIR", help="a job's id or a model directory")
    parser.add_argument("--to", required=True, metavar="DIR", help="where the new directory is to be")
    parser.add_argument(
        "--format",
        choices=("hf", "onnx", "sentence-transformers"),
        default="hf",
        help="hf: a directory for transformers (the default); onnx: masked models for onnxruntime; "
        "sentence-transformers: an encoder with mean pooling",
    )
    parser.add_argument("--step", metavar="N", help="a checkpoint: its step, latest or best (default: the model)")
    parser.add_argument(
        "--length", type=int, nargs="+", default=[], metavar="L", help="onnx of CANINE: a file for each"
    )


def configure_import(parser: ArgumentParser) -> None:
    parser.add_argument("path", metavar="PATH", help="what another program wrote: a directory, or of MPNet a .pt")
    parser.add_argument("--format", choices=("annotated_mpnet", "canine_mlm"), required=True, help="what wrote it")
    parser.add_argument("--to", required=True, metavar="DIR", help="where the model directory is to be")
    parser.add_argument("--tokenizer", metavar="DIR", help="of MPNet: its tokenizer (default: as the checkpoint says)")
    parser.add_argument("--trust-checkpoint", action="store_true", help="of MPNet: read what may run code when read")


COMMANDS = (
    Command(
        name="export",
        examples=(
            "runjob export latest --to model/",
            "runjob export latest --step best --format onnx --to model-onnx/",
        ),
        usage="ID|DIR --to DIR",
        summary="copy the model, check the copy",
        configure=configure_export,
        run=run_export,
    ),
    Command(
        name="import",
        examples=(
            "runjob import model.pt --format annotated_mpnet --to mpnet/",
            "runjob import checkpoint/ --format canine_mlm --to canine/",
        ),
        usage="PATH --to DIR",
        summary="read another program's model",
        configure=configure_import,
        run=run_import,
    ),
)
