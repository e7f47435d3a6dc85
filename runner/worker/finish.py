"""After the last step: the test side, the model in Hugging Face form, and the `finish` event with what was learnt. All
ranks evaluate, then rank 0 works and the others wait. A run that is killed here is resumed here: nothing is trained
again."""

from torch import distributed

from runjob.runner.worker.assemble import Assembly
from runjob.runner.worker.card import write_card
from runjob.runner.worker.card_facts import gather_facts
from runjob.runner.worker.checkpoint import Checkpoint, open_checkpoint
from runjob.runner.worker.export import export_model
from runjob.runner.worker.export_sentences import modules_of, settings_of_job
from runjob.runner.worker.faults import fault_point
from runjob.runner.worker.metrics import Metrics, perplexity
from runjob.runner.worker.models.dense import dense_in, without_dense
from runjob.runner.worker.models.filling import without_filling
from runjob.runner.worker.parts import Parts
from runjob.runner.worker.samples import write_samples
from runjob.runner.worker.test_side import evaluate_test_side
from runjob.runner.worker.train import Ending
from runjob.schemas.manifest import folder_name


def finish(assembly: Assembly, ending: Ending) -> None:
    parts = assembly.parts
    step = export_step(parts)
    distributed.barrier()  # rank 0 alone writes checkpoints, and the others read this one too, for a test side
    if parts.exchange.rank != 0 and assembly.store.test is None:
        return  # on a host of its own there may be none to read
    checkpoint = open_checkpoint(parts.run.checkpoints / folder_name(step))
    test = evaluate_test_side(assembly, checkpoint)
    if parts.exchange.rank != 0:
        return
    fault_point("export", step=parts.state.step)
    export(assembly, checkpoint, test)
    if parts.job.evaluation.prompts:
        parts.journal.log("samples", step=step, texts=write_samples(parts.run.model, parts.job))
    state = parts.state
    evaluation = state.last_evaluation
    assert evaluation is not None and state.last_train_loss is not None, "the last step is always evaluated"
    parts.journal.log(
        "finish",
        step=state.step,
        reason=ending.reason,
        train_loss=state.last_train_loss,
        train_perplexity=perplexity(state.last_train_loss),
        **{f"eval_{name}": value for name, value in evaluation.items()},
        **{f"test_{name}": value for name, value in (test or {}).items()},
        best_step=state.best.step if state.best is not None else None,
        model_step=step,
        tokens=state.tokens,
        seconds=state.seconds,
        baseline_perplexity=baseline_perplexity(parts),
    )


def export_step(parts: Parts) -> int:
    """The best step where the job names a metric, else the last."""
    best = parts.state.best
    return best.step if parts.job.evaluation.best is not None and best is not None else parts.state.step


def baseline_perplexity(parts: Parts) -> float | None:
    """What the `baseline` event of this run said."""
    for record in parts.run.read_events():
        if record["event"] == "baseline":
            return float(record["perplexity"])
    return None


def export(assembly: Assembly, checkpoint: Checkpoint, test: Metrics | None) -> None:
    """model/ from the checkpoint's fp32 weights, whatever precision trained them."""
    parts = assembly.parts
    facts = gather_facts(
        parts.run,
        parts.job,
        assembly.store.summary,
        assembly.config,
        parameters=assembly.init.parameters,
        step=checkpoint.step,
        planned=parts.clock.total_steps,
        tokens=checkpoint.state.tokens,
        test=test,
    )
    vocabulary = assembly.store.summary.tokenizer.vocab_size
    every = dict(checkpoint.weights())
    weights, dense = without_dense(every), dense_in(every)
    weights, config = without_filling(weights, assembly.config, parts.job.model, vocabulary=vocabulary)
    export_model(
        weights,
        config,
        tokenizer=assembly.store.tokenizer,
        target=parts.run.model,
        card=write_card(facts),
        generation=parts.job.evaluation.generation,
        beside=settings_of_job(parts.job, config, dense),
        modules=modules_of(dense),
    )
