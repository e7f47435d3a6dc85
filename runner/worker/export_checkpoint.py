"""The weights of one checkpoint as a model directory: for a step that was saved before the run ended, or instead of the
one that it ended with."""

from pathlib import Path

from runjob.data.store import Store
from runjob.runner.worker.assemble import run_identity
from runjob.runner.worker.card import write_card
from runjob.runner.worker.card_facts import gather_facts
from runjob.runner.worker.checkpoint import Checkpoint, newest_complete, open_checkpoint
from runjob.runner.worker.export import export_model
from runjob.runner.worker.export_sentences import modules_of, settings_of_job
from runjob.runner.worker.models.dense import dense_in, without_dense
from runjob.runner.worker.models.filling import without_filling
from runjob.runner.worker.models.init import add_vector_layer, build_network
from runjob.runner.worker.objective import head_labels
from runjob.runner.worker.seeds import seed_of
from runjob.runner.worker.start import refuse_foreign
from runjob.schemas.errors import JobError, StateError
from runjob.schemas.job_json import read_job_json
from runjob.schemas.manifest import folder_name, folders_in
from runjob.schemas.run import RunDir


def export_checkpoint(run: RunDir, wanted: str, to: Path) -> str:
    """The weights of one checkpoint as a model directory, with a card of that step; how it was compared, in words."""
    if not run.job.exists():
        raise JobError(f"--step {wanted}: {run.path} is no run directory, and only a run has checkpoints")
    checkpoint = named_checkpoint(run, wanted)
    job = read_job_json(run.job).job
    store = Store.open(Path(run.read_data()["store"]))
    network, init = build_network(
        job.model,
        job.objective.kind,
        tokenizer=store.summary.tokenizer,
        seed=seed_of(job.seed, "init"),
        tokenizer_at=store.tokenizer,
        filled_later=True,
        labels=head_labels(job),
    )
    every = dict(checkpoint.weights())
    if dense := dense_in(every):  # its width was the teacher's, which nobody needs any more
        init = add_vector_layer(network, init, width=len(dense["bias"]), seed=job.seed)
    refuse_foreign(checkpoint, run_identity(job, store, network))
    started = list(run.read_events("start"))
    facts = gather_facts(
        run,
        job,
        store.summary,
        network.config,
        parameters=init.parameters,
        step=checkpoint.step,
        planned=int(started[-1]["steps"]),
        tokens=checkpoint.state.tokens,
        test=None,
    )
    network.config.architectures = [type(network).__name__]
    vocabulary, weights = store.summary.tokenizer.vocab_size, without_dense(every)
    weights, config = without_filling(weights, network.config, job.model, vocabulary=vocabulary)
    export_model(
        weights,
        config,
        tokenizer=store.tokenizer,
        target=to,
        card=write_card(facts),
        generation=job.evaluation.generation,
        beside=settings_of_job(job, config, dense),
        modules=modules_of(dense),
    )
    return f"answers equal to {checkpoint.path}"


def named_checkpoint(run: RunDir, wanted: str) -> Checkpoint:
    """`latest`, `best` or a step, complete and undamaged."""
    steps = list(folders_in(run.checkpoints))
    if wanted not in ("latest", "best"):
        if not wanted.isdecimal() or int(wanted) not in steps:
            have = ", ".join(map(str, steps)) or "none yet"
            raise StateError(f"--step {wanted}: {run.id} has no checkpoint of that name; it has {have}, latest, best")
        return open_checkpoint(run.checkpoints / folder_name(int(wanted)))
    newest, passed_over = newest_complete(run)
    if newest is None:
        raise StateError("; ".join([f"{run.id} has no complete checkpoint", *passed_over]))
    if wanted == "latest":
        return newest
    if newest.state.best is None:
        raise StateError(f"--step best: {run.id} has not been evaluated yet")
    return open_checkpoint(run.checkpoints / folder_name(newest.state.best.step))
