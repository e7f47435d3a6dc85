"""Rules about objectives that learn from labels beside the text: what of the job belongs to them alone, what goes with
them, and what does not."""

from collections.abc import Iterator

from runjob.schemas.tags import NOTHING, UNRELATED
from runjob.schemas.values import Values

# (path, message)
Findings = Iterator[tuple[str, str]]

LABELLED = ("token_classification", "relation_classification", "sequence_classification")
# Of these a document has one label, for which all of it is read
WHOLE = ("sequence_classification",)
# Of these texts become vectors (embedding_rules.py)
EMBEDDED = ("sentence_embedding",)
# What reads more than the text of a document, and predicts no words
BESIDE_TEXT = (*LABELLED, *EMBEDDED)
# Of these every document has one label, for which its spans are marked
PAIRED = ("relation_classification",)
# Metrics of classes, higher is better; what is measured of predicted text is not measured of them
OF_CLASSES = ("f1", "f1_macro", "accuracy")
NOT_MEASURED = {"f1": WHOLE, "f1_macro": ("token_classification",)}
OF_TEXT = ("bits_per_byte", "masked_bits_per_byte", "rare_token_perplexity")
# Families that have a head for each token (runner/worker/models/token_classes.py)
FAMILIES = ("bert", "modernbert", "deberta_v2", "mpnet")
# and those that have one for a whole row (runner/worker/models/document_classes.py)
ROW_FAMILIES = (*FAMILIES, "canine")


def labels_differ(job: Values) -> Findings:
    labels = job["objective.labels"]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        yield "objective.labels", f"{', '.join(twice)} stands there twice; delete one of them"
    if job["objective.kind"] in PAIRED and UNRELATED in labels:
        said = f"{UNRELATED} is what a pair is called that nothing relates"
        yield "objective.labels", f"{said}; delete it: it needs no label"
    elif job["objective.kind"] not in (*PAIRED, *WHOLE) and NOTHING in labels:
        said = f"{NOTHING} is what a token is called that belongs to no span"
        yield "objective.labels", f"{said}; delete it: it needs no label"


def weights_are_of_labels(job: Values) -> Findings:
    weights = job["objective.class_weights"]
    if not isinstance(weights, dict):
        return
    nothing = UNRELATED if job["objective.kind"] in PAIRED else NOTHING
    known = [*([] if job["objective.kind"] in WHOLE else [nothing]), *job["objective.labels"]]
    for label in weights:
        if label not in known:
            yield f"objective.class_weights.{label}", f"no label of this job; known: {', '.join(known)}"


def labels_come_from_somewhere(job: Values) -> Findings:
    kind, objective = job["data.kind"], job["objective.kind"]
    if objective not in LABELLED:
        return
    key = "label" if objective in WHOLE else "entities"
    if kind not in ("jsonl", "conll") or (kind == "conll" and objective in (*PAIRED, *WHOLE)):
        said = f"{objective} learns from labels, which {kind} does not have; write `kind: jsonl` with"
        also = ", or `kind: conll`" if objective not in (*PAIRED, *WHOLE) else ""
        also = ", `relations: relations`" if objective in PAIRED else also
        yield "data.kind", f"{said} `target: {key}`{also}"
    elif kind == "jsonl" and job["data.target"] is None:
        said = f"missing; write the key that holds what {objective} predicts"
        yield "data.target", f"{said}, for example `target: {key}`"


def relations_come_from_somewhere(job: Values) -> Findings:
    kind, objective = job["data.kind"], job["objective.kind"]
    if kind != "jsonl":
        return
    if objective in PAIRED and job["data.relations"] is None:
        said = f"missing; write the key that holds the relations which {objective} predicts"
        yield "data.relations", f"{said}, for example `relations: relations`"
    elif objective not in PAIRED and job["data.relations"] is not None:
        yield "data.relations", f"{objective} learns from no relations; delete it"


def pairs_stay_whole(job: Values) -> Findings:
    """The pairs of a sentence are on one side, and both marks in one row."""
    objective = job["objective.kind"]
    if objective not in PAIRED:
        return
    if job["data.long_documents"] != "truncate":
        said = f"{objective} asks once about a pair, whose marks would be in different rows"
        yield "data.long_documents", f"{said}; write `long_documents: truncate`"
    if job["data.split.kind"] == "first":
        said = "`first` counts pairs, and would part those of one text"
        yield "data.split.kind", f"{said}; write hash or files"
    if job["data.normalize.lowercase"]:
        yield "data.normalize.lowercase", "marks like [E1] would be lowered as well; write false"


def a_document_is_asked_once(job: Values) -> Findings:
    objective = job["objective.kind"]
    if objective in WHOLE and job["data.long_documents"] != "truncate":
        said = f"{objective} asks once about a document, by one row; write `long_documents: truncate`"
        yield "data.long_documents", f"{said}: of longer ones the first part is read"


def labels_are_learnt_from(job: Values) -> Findings:
    kind, objective = job["data.kind"], job["objective.kind"]
    if objective in BESIDE_TEXT:
        return
    if kind == "conll":
        said = f"{objective} reads text without tags; write `kind: text`, or `objective: {{kind: token_classification"
        yield "data.kind", f"{said}, labels: [...]}}`"
    elif kind == "jsonl" and job["data.target"] is not None:
        yield "data.target", f"{objective} learns from text alone; delete it"


def a_row_is_a_labelled_document(job: Values) -> Findings:
    objective = job["objective.kind"]
    if objective in BESIDE_TEXT and job["data.layout"] != "lines":
        said = f"{objective} reads one document a row, as whoever asks the finished model will"
        yield "data.layout", f"{said}; write `layout: lines`"


def the_family_has_such_a_head(job: Values) -> Findings:
    architecture, objective = job["model.init.architecture"], job["objective.kind"]
    families = ROW_FAMILIES if objective in WHOLE else FAMILIES
    if objective in BESIDE_TEXT and architecture not in families:
        is_for = "is for" if objective in EMBEDDED else "has heads for"
        said = f"{objective} {is_for} {', '.join(families)}, not for {architecture}"
        yield "model.init.architecture", f"{said}; write one of these"


def characters_have_no_such_head(job: Values) -> Findings:
    objective = job["objective.kind"]
    if objective in BESIDE_TEXT and objective not in WHOLE and job["data.tokenizer.kind"] == "characters":
        said = f"characters are read by canine, for which {objective} has no head; name a tokenizer of pieces"
        yield "data.tokenizer.kind", f"{said}, or train one: {{kind: train, algorithm: wordpiece}}"


def metrics_fit_the_labels(job: Values) -> Findings:
    objective = job["objective.kind"]
    for path, metric in job.watched():
        if objective in LABELLED and metric in OF_TEXT:
            instead = "f1_macro" if objective in WHOLE else "f1"
            yield path, f"{metric} is of predicted text, and {objective} predicts labels; write `{instead}`"
        if metric in NOT_MEASURED and objective in NOT_MEASURED[metric]:
            said = f"{metric} is not measured by {objective}"
            yield path, f"{said}; write `{'f1_macro' if objective in WHOLE else 'f1'}`"
        if objective not in LABELLED and metric in OF_CLASSES:
            predicts = "vectors" if objective in EMBEDDED else "text"
            yield path, f"{metric} is of predicted labels, and {objective} predicts {predicts}; write `loss`"


def labels_answer_no_prompt(job: Values) -> Findings:
    objective = job["objective.kind"]
    if objective in BESIDE_TEXT and job["evaluation.prompts"]:
        yield "evaluation.prompts", f"a model of {objective} goes on from no text; write []"


LABEL_RULES = (
    labels_differ,
    weights_are_of_labels,
    labels_come_from_somewhere,
    relations_come_from_somewhere,
    pairs_stay_whole,
    a_document_is_asked_once,
    labels_are_learnt_from,
    a_row_is_a_labelled_document,
    the_family_has_such_a_head,
    characters_have_no_such_head,
    metrics_fit_the_labels,
    labels_answer_no_prompt,
)
