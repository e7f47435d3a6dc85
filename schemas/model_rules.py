"""Rules about the network and what it learns: sizes that fit, and objectives that an architecture and a tokenizer can
serve."""

import re
from collections.abc import Iterator

from runjob.schemas.characters import longest_row, padded_length
from runjob.schemas.label_rules import BESIDE_TEXT
from runjob.schemas.values import Values

# (path, message)
Findings = Iterator[tuple[str, str]]

# Which objective an architecture can learn
DECODERS = ("gpt2",)
ENCODERS = ("bert", "modernbert", "deberta_v2", "mpnet", "canine")
# A commit in full: shorter ones may come to mean another
COMMIT = re.compile("[0-9a-f]{40}")
# Kinds of first weights that are made of a teacher's
STUDENTS = ("guide", "tile")


def heads_divide_the_width(job: Values) -> Findings:
    width, heads = job["model.init.hidden_size"], job["model.init.num_attention_heads"]
    if width % heads:
        below = width // heads * heads
        works = f"{below} and {below + heads} are" if below else f"{heads} is"
        yield "model.init.hidden_size", f"{width} is not divisible by num_attention_heads {heads}; {works}"


def heads_are_even(job: Values) -> Findings:
    architecture, width, heads = (
        job["model.init.architecture"],
        job["model.init.hidden_size"],
        job["model.init.num_attention_heads"],
    )
    if architecture == "modernbert" and width % heads == 0 and width // heads % 2:
        said = f"{width} leaves {width // heads} to each of {heads} heads; rotary positions turn pairs, so write"
        yield "model.init.hidden_size", f"{said} {width + heads}"


def code_is_pinned(job: Values) -> Findings:
    """A branch or a directory is whatever somebody put there last; a commit is what its reader saw."""
    if not job["model.init.trust_remote_code"]:
        return
    path, revision = job["model.init.path"], job["model.init.revision"]
    place = "model.init.trust_remote_code"
    if path.startswith("/"):
        said = "code runs only where a commit names it, and a directory has none; delete the key, or name the"
        yield place, f"{said} repository on the Hub and its commit"
    elif revision is None or not COMMIT.fullmatch(revision):
        said = "code runs only where a commit names it; write `revision:` with the 40 hex digits of the one that you"
        yield place, f"{said} read: `git ls-remote https://huggingface.co/{path} HEAD` prints the newest"
    if job["objective.kind"] != "clm":
        said = f"{job['objective.kind']} knows the heads of its own families alone; write `kind: clm`"
        yield "objective.kind", f"{said}, or delete model.init.trust_remote_code"


def objective_fits_the_architecture(job: Values) -> Findings:
    architecture, kind = job["model.init.architecture"], job["objective.kind"]
    if kind == "mlm" and architecture in DECODERS:
        said = f"mlm predicts from both sides and {architecture} sees only what stands before; write `kind: clm`"
        yield "objective.kind", f"{said}, or an architecture of {', '.join(ENCODERS)}"
    if kind == "plm" and architecture is not None and architecture != "mpnet":
        said = f"plm is computed by MPNet's two streams, and {architecture} has one; write `architecture: mpnet`"
        yield "objective.kind", f"{said}, or `kind: {'clm' if architecture in DECODERS else 'mlm'}`"
    if kind == "clm" and architecture in ENCODERS:
        said = f"clm predicts what comes next and {architecture} sees it; write `kind: mlm`"
        yield "objective.kind", f"{said}, or `architecture: {DECODERS[0]}`"


def students_are_masked_models(job: Values) -> Findings:
    kind = job["model.init.kind"]
    if kind not in STUDENTS:
        return
    if job["objective.kind"] != "mlm":
        said = f"a student of kind {kind} is a ModernBERT, which learns from both sides"
        yield "objective.kind", f"{said}; write `kind: mlm`"
    if job["data.tokenizer.kind"] != "pretrained":
        said = "a student shares its teacher's vocabulary; write {kind: pretrained, path:"
        yield "data.tokenizer.kind", f"{said} {job['model.init.teacher']}}}"


def metrics_fit_the_objective(job: Values) -> Findings:
    kind = job["objective.kind"]
    if kind in BESIDE_TEXT:  # label_rules.py and embedding_rules.py have their own
        return
    wrong, right = ("masked_bits_per_byte", "loss") if kind == "clm" else ("bits_per_byte", "masked_bits_per_byte")
    for path, metric in job.watched():
        if metric == wrong:
            yield path, f"{wrong} is not measured by the objective {kind}; write `{right}`"
        if metric == "rare_token_perplexity":
            yield from _has_added_tokens(job, path)


def baselines_fit_the_objective(job: Values) -> Findings:
    kind = job["objective.kind"]
    if kind != "clm" and job["evaluation.baseline"] == "interpolated_bigram":
        said = f"a bigram model predicts the next token, and {kind} does not; write null"
        yield "evaluation.baseline", f"{said}, or with `unit: char` character_bigram"


def _has_added_tokens(job: Values, path: str) -> Findings:
    tokenizer = job["data.tokenizer.kind"]
    if tokenizer == "train" and not job["data.tokenizer.terms"]:
        said = "is measured on added tokens, and a tokenizer that the job trains has none; name term files in"
        yield path, f"rare_token_perplexity {said} data.tokenizer.terms, or write `loss`"
    if tokenizer == "characters":
        yield path, "rare_token_perplexity is measured on added tokens, and characters have none; write `loss`"


def characters_have_their_own_baseline(job: Values) -> Findings:
    if job["evaluation.baseline"] != "character_bigram":
        return
    if job["objective.kind"] != "mlm" or job["objective.unit"] != "char":
        said = "character_bigram is for `objective: {kind: mlm, unit: char}` alone; write null"
        yield "evaluation.baseline", said


def shares_add_up(job: Values) -> Findings:
    shares = [job[f"objective.replace.{name}"] for name in ("mask", "random", "keep")]
    if abs(sum(shares) - 1) > 1e-9:
        yield "objective.replace", f"mask, random and keep add up to {sum(shares):g}, not to 1"


def spans_leave_room(job: Values) -> Findings:
    probability = job["objective.probability"]
    if job["objective.span"] is not None and probability > 0.5:
        said = f"{probability:g} leaves no room between spans; write 0.5 or less, or `span: null`"
        yield "objective.probability", said


def other_shares_differ(job: Values) -> Findings:
    shares = job["evaluation.also_hide"]
    if not shares:
        return
    if job["objective.kind"] != "mlm":
        yield "evaluation.also_hide", f"{job['objective.kind']} hides no share of a row; write []"
        return
    named = [f"{100 * share:g}" for share in (job["objective.probability"], *shares)]
    if len(set(named)) < len(named):
        yield "evaluation.also_hide", "a share stands twice, or is objective.probability, which is measured anyway"
    if job["objective.span"] is not None and max(shares) > 0.5:
        yield "evaluation.also_hide", f"{max(shares):g} leaves no room between spans; write 0.5 or less"


def masks_have_a_token(job: Values) -> Findings:
    kind = job["objective.kind"]
    if kind in ("mlm", "plm") and job["data.tokenizer.algorithm"] == "bpe":
        said = f"bpe trained by the job has no mask token, which {kind} needs; write wordpiece or unigram"
        yield "data.tokenizer.algorithm", said


def padding_is_where_mpnet_looks(job: Values) -> Findings:
    trained = job["data.tokenizer.kind"] == "train" and job["data.tokenizer.marks"] != "mpnet"
    if job["model.init.architecture"] == "mpnet" and trained:
        said = "mpnet takes id 1 for padding, and this tokenizer has it at 0; write `algorithm: wordpiece` with"
        yield "data.tokenizer", f"{said} `marks: mpnet`, name one made for MPNet or RoBERTa, or `architecture: bert`"


def rows_hold_more_than_marks(job: Values) -> Findings:
    kind = job["objective.kind"]
    if kind != "clm" and job["data.sequence_length"] < 3:
        yield "data.sequence_length", f"a row of {kind} begins and ends with a special token; write 3 or more"


def characters_go_with_canine(job: Values) -> Findings:
    architecture, kind = job["model.init.architecture"], job["data.tokenizer.kind"]
    if architecture == "canine" and kind != "characters":
        yield "data.tokenizer.kind", "canine reads characters; write `tokenizer: {kind: characters}`"
    if architecture != "canine" and kind == "characters":
        said = f"characters are read by canine alone, not by {architecture}; write `architecture: canine`"
        yield "data.tokenizer.kind", f"{said}, or a tokenizer of pieces: {{kind: train, algorithm: wordpiece}}"


def characters_come_one_after_another(job: Values) -> Findings:
    if job["objective.kind"] == "char_ar" and job["data.tokenizer.kind"] != "characters":
        said = "char_ar predicts characters, and this tokenizer has pieces; write `kind: mlm`"
        yield "objective.kind", f"{said}, or `tokenizer: {{kind: characters}}` with canine"


def characters_are_hidden_one_by_one(job: Values) -> Findings:
    characters = job["data.tokenizer.kind"] == "characters"
    if characters and job["objective.kind"] == "clm":
        said = "clm predicts what comes next, and canine, which reads characters, sees it"
        yield "objective.kind", f"{said}; write `{{kind: mlm, unit: char}}`"
    unit = job["objective.unit"]
    if characters and unit != "char":
        yield "objective.unit", f"with `tokenizer: {{kind: characters}}` there is no {unit} to hide; write `unit: char`"
    if not characters and unit == "char":
        said = "char hides characters, and this tokenizer has pieces; write `unit: token`"
        yield "objective.unit", f"{said}, or `tokenizer: {{kind: characters}}` with canine"


def hashes_divide_the_width(job: Values) -> Findings:
    width, hashes = job["model.init.hidden_size"], job["model.init.num_hash_functions"]
    if width % hashes:
        said = f"{width} can't be put together from {hashes} parts of one size (num_hash_functions)"
        yield "model.init.hidden_size", f"{said}; write {(width // hashes + 1) * hashes}"


def padding_has_positions(job: Values) -> Findings:
    longest, rows = job["model.init.max_position_embeddings"], job["model.init.num_hash_buckets"]
    if (padded := padded_length(longest)) > rows:
        said = f"with its padding a row of {longest} has {padded} positions, and the table of them {rows} rows"
        write = f"{longest_row(rows)} or less, or" if longest_row(rows) > 0 else ""
        yield "model.init.max_position_embeddings", f"{said} (num_hash_buckets); write {write} more buckets"


MODEL_RULES = (
    heads_divide_the_width,
    heads_are_even,
    code_is_pinned,
    objective_fits_the_architecture,
    students_are_masked_models,
    metrics_fit_the_objective,
    baselines_fit_the_objective,
    shares_add_up,
    spans_leave_room,
    other_shares_differ,
    masks_have_a_token,
    padding_is_where_mpnet_looks,
    characters_have_their_own_baseline,
    rows_hold_more_than_marks,
    characters_go_with_canine,
    characters_come_one_after_another,
    characters_are_hidden_one_by_one,
    hashes_divide_the_width,
    padding_has_positions,
)
