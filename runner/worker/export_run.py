"""`runjob export`: a model handed out, in the form that is asked for, read back and compared before it gets its name.

    hf      a directory that transformers loads: a copy of RUN/model (or of any model directory), or with --step the
            fp32 weights of one checkpoint, which a run has long before it has a model
    onnx    export_onnx.py
    sentence-transformers    export_sentences.py

Nothing that is there is ever written over.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers.utils.logging import disable_progress_bar

from runjob.runner.worker.export import WEIGHTS, copy_model, load_network
from runjob.runner.worker.export_onnx import export_onnx
from runjob.runner.worker.export_sentences import export_sentences
from runjob.runner.worker.models.loading import AUTO, task_of
from runjob.schemas.errors import JobError, NotFoundError, RunjobError, StateError
from runjob.schemas.run import RunDir


def export(options: argparse.Namespace) -> None:
    source, to = options.source.absolute(), options.to.absolute()
    refuse_occupied(to)
    if to.is_relative_to(source):
        raise JobError(f"--to {to}: lies inside of what is to be copied; name a directory elsewhere")
    if options.format == "onnx":
        with model_of(source, options.step) as model:
            to.parent.mkdir(parents=True, exist_ok=True)
            export_onnx(model, to, lengths=tuple(options.length), tell=print)
        return
    if options.format == "sentence-transformers":
        with model_of(source, options.step) as model:
            to.parent.mkdir(parents=True, exist_ok=True)
            width = export_sentences(model, to)
        print(f"{to}: a sentence becomes {width} numbers; loads with SentenceTransformer")
        return
    if options.length:
        raise JobError("--length is for --format onnx; a Hugging Face directory reads rows of any length")
    to.parent.mkdir(parents=True, exist_ok=True)
    if options.step is not None:
        said = take_checkpoint(RunDir(source), options.step, to)
    else:
        model = model_directory(source)
        copy_model(model, to)
        said = f"answers equal to {model}"
    network = load_network(to)
    count = sum(parameter.numel() for parameter in network.parameters())
    print(f"{to}: {count:,} parameters in fp32; loads with {AUTO[task_of(network.config)].__name__}, {said}")


def refuse_occupied(to: Path) -> None:
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise JobError(f"--to {to}: exists and is not an empty directory; name a new one")


def model_directory(source: Path) -> Path:
    """Of a run its model/, or a model directory itself; told apart by what lies in them."""
    run = RunDir(source)
    if run.job.exists():
        if not (run.model / WEIGHTS).exists():
            raise StateError(
                f"{run.id}: has no model/ yet; it is written when the job ends (`runjob status {run.id}` says where it "
                "is); --step latest takes its newest checkpoint"
            )
        return run.model
    if (source / "config.json").exists():
        return source
    raise NotFoundError(f"{source}: neither a run directory (no job.json) nor a model directory (no config.json)")


@contextmanager
def model_of(source: Path, step: str | None) -> Iterator[Path]:
    """The model directory to read; that of a checkpoint is made for the occasion."""
    if step is None:
        yield model_directory(source)
        return
    with tempfile.TemporaryDirectory(prefix="runjob-export-") as folder:
        model = Path(folder) / "model"
        take_checkpoint(RunDir(source), step, model)
        yield model


def take_checkpoint(run: RunDir, wanted: str, to: Path) -> str:
    """How it was compared, in words. Checkpoints bring deepspeed, whose import takes seconds and warns: only here."""
    from runjob.runner.worker.export_checkpoint import export_checkpoint

    return export_checkpoint(run, wanted, to)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="runjob export", description="Hand out a model and check what was written.")
    parser.add_argument("source", type=Path, help="a run directory or a model directory")
    parser.add_argument("--to", type=Path, required=True, help="where the new directory is to be")
    parser.add_argument("--format", choices=("hf", "onnx", "sentence-transformers"), default="hf", help="(default: hf)")
    parser.add_argument("--step", help="a checkpoint's step, latest or best (default: the finished model)")
    parser.add_argument("--length", type=int, nargs="+", default=[], help="onnx of CANINE: a file for each length")
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = build_parser().parse_args(arguments)
    disable_progress_bar()
    try:
        export(options)
    except RunjobError as error:
        print(f"runjob: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
