"""What a job needs and this machine lacks, all of it at once, before anything starts (exit code 2)."""

import importlib.util
import os
import platform
import urllib.parse
from pathlib import Path

from runjob.data.samples import PREFIX
from runjob.schemas.hub_copy import hub_cache
from runjob.schemas.job import Job
from runjob.schemas.job_data import (
    Data,
    FilesSplit,
    HubData,
    MixData,
    MixedHub,
    MixedSource,
    PretrainedTokenizer,
    SingleData,
)
from runjob.schemas.job_model import FinishedInit, GuideInit, SentenceEmbedding, TileInit
from runjob.schemas.machine import Machine, kernel_compiler, missing_compiler, missing_kernel_compiler
from runjob.schemas.urls import is_url
from runjob.schemas.weights import RUN_PREFIX

HUB_PATIENCE_S = 5.0
TWIN = "a small twin of this job runs on any machine"
TWINS = {
    "canine_domains": "jobs/tiny/canine_domains.yaml",
    "gpt2_dutch_small": "jobs/tiny/gpt2_dutch.yaml",
    "gpt2_dutch_medium": "jobs/tiny/gpt2_dutch.yaml",
    "gpt2_dutch_large": "jobs/tiny/gpt2_dutch.yaml",
    "modernbert_student": "jobs/tiny/modernbert_student.yaml",
    "paleo_dapt": "jobs/tiny/paleo_dapt.yaml",
}


def missing_needs(job: Job, machine: Machine, *, ask_hub: bool) -> tuple[str, ...]:
    """One line for each thing missing here: GPUs, and data and models that neither a local copy nor the Hub gives.
    `plan` never asks the network (`ask_hub` false); whoever is about to start does."""
    lines = [*missing_place(job), *missing_gpus(job, machine), *missing_packages(job), *missing_tracking(job)]
    if job.training.compile and (lacking := missing_compiler(job.hardware.device)) is not None:
        lines.append(lacking)
    if job.training.kernels == "fused" and kernel_compiler() is None:
        lines.append(f"training.kernels: {missing_kernel_compiler()}; write auto or torch to do without")
    lines += missing_hub(job, ask_hub=ask_hub)
    if lines and job.name in TWINS:
        lines.append(f"{TWIN}: {TWINS[job.name]}")
    return tuple(lines)


def missing_place(job: Job) -> list[str]:
    """What no package can bring: more machines than this one, another kind of machine."""
    lines = []
    if job.hardware.nodes > 1:
        lines.append(
            f"hardware.nodes: {job.hardware.nodes}, and the local launcher has this machine alone; set it to 1"
        )
    if job.hardware.device == "mps" and platform.system() != "Darwin":
        lines.append(f"hardware.device: mps is Apple's GPU, and this is {platform.system()}; set it to cpu or cuda")
    return lines


def missing_gpus(job: Job, machine: Machine) -> list[str]:
    if job.hardware.device != "cuda":
        return []
    wanted, here = job.hardware.gpus, len(machine.gpus)
    if here and (wanted == "all" or (isinstance(wanted, int) and wanted <= here)):
        return []
    return [
        f"hardware.gpus: the job asks for {wanted}, nvidia-smi lists {here} here; run it where they are, "
        "or set hardware.device to cpu and leave hardware.gpus out"
    ]


def missing_packages(job: Job) -> list[str]:
    """What `prepare` would need to read the job's addresses and the uploader to write to one; whether there is an
    answer they see themselves."""
    read, written = addresses(job.data), job.output.remote
    if not read and written is None:
        return []
    from runjob.data.remote import find_problem

    problems = [find_problem(address) for address in read]
    if written is not None:
        problems.append(find_problem(written, where="output.remote"))
    return [str(problem) for problem in problems if problem is not None]


def missing_tracking(job: Job) -> list[str]:
    return [*missing_wandb(job), *missing_mlflow(job)]


def missing_mlflow(job: Job) -> list[str]:
    if job.tracking.mlflow is None or importlib.util.find_spec("mlflow") is not None:
        return []
    return ["tracking.mlflow: the package mlflow is not installed: pip install 'runjob[mlflow]', or write null"]


def missing_wandb(job: Job) -> list[str]:
    """W&B's package, and for sending at once a key where its library looks for one. The key itself is not read."""
    if job.tracking.wandb is None:
        return []
    if importlib.util.find_spec("wandb") is None:
        return ["tracking.wandb: the package wandb is not installed: pip install 'runjob[wandb]', or write null"]
    if job.tracking.wandb.mode == "offline" or wandb_key_is_there():
        return []
    said = "online needs a key: type `wandb login`, or set WANDB_API_KEY; or write `mode: offline`"
    return [f"tracking.wandb.mode: {said}"]


def wandb_key_is_there() -> bool:
    """In the environment, or in ~/.netrc, where `wandb login` puts it."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    file = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    host = urllib.parse.urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname
    return host is not None and file.is_file() and host in file.read_text(encoding="utf-8", errors="replace").split()


def addresses(data: Data) -> list[str]:
    """Everything that `data` names and that lies elsewhere; a data set of the Hub has a name and no address."""
    paths = [path for source in sources_of(data) if not isinstance(source, HubData | MixedHub) for path in source.path]
    if isinstance(data.split, FilesSplit):
        paths += [*data.split.validation, *(data.split.test or ())]
    return [path for path in paths if is_url(path) and not path.startswith(("file://", "local://"))]


def sources_of(data: Data) -> tuple[SingleData | MixedSource, ...]:
    return data.sources if isinstance(data, MixData) else (data,)


def missing_hub(job: Job, *, ask_hub: bool) -> list[str]:
    """What is neither here nor to be had: the Hub is switched off (HF_HUB_OFFLINE), or does not answer."""
    lines = not_here(job)
    offline = os.environ.get("HF_HUB_OFFLINE", "") in ("1", "true", "TRUE")
    if not lines or not (offline or (ask_hub and not hub_answers())):
        return []
    remedy = "put a copy there or unset HF_HUB_OFFLINE" if offline else "put a copy there; the Hub does not answer"
    return [f"{line}; {remedy}" for line in lines]


def hub_answers() -> bool:
    """Any answer will do, an error page too."""
    import urllib.error
    import urllib.request  # 10 ms that `plan`, which asks nobody, does without

    from huggingface_hub import constants

    try:
        urllib.request.urlopen(constants.ENDPOINT, timeout=HUB_PATIENCE_S).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True


def not_here(job: Job) -> list[str]:
    """Names on the Hub of which there is no copy, and where one would lie."""
    lines = []
    for data in sources_of(job.data):
        match data:
            case HubData() | MixedHub() if is_name(data.path) and not cached("datasets", data.path):
                lines.append(f"data.path: {data.path} is neither a local directory nor in the Hub cache {hub_cache()}")
    match job.data.tokenizer:
        case PretrainedTokenizer() as tokenizer if is_name(tokenizer.path) and not cached("models", tokenizer.path):
            lines.append(f"data.tokenizer.path: {tokenizer.path} is neither local nor in the Hub cache {hub_cache()}")
    match job.model.init:
        case FinishedInit() as init if is_name(init.path) and not cached("models", init.path):
            lines.append(f"model.init.path: {init.path} is neither local nor in the Hub cache {hub_cache()}")
        case GuideInit() | TileInit() as init if is_name(init.teacher) and not cached("models", init.teacher):
            lines.append(f"model.init.teacher: {init.teacher} is neither local nor in the Hub cache {hub_cache()}")
    teacher = teacher_of(job)
    if teacher is not None and is_name(teacher) and not cached("models", teacher):
        lines.append(f"objective.teacher: {teacher} is neither local nor in the Hub cache {hub_cache()}")
    return lines


def teacher_of(job: Job) -> str | None:
    """Whose vectors are learnt."""
    return job.objective.taught_by if isinstance(job.objective, SentenceEmbedding) else None


def named_on_hub(job: Job) -> list[str]:
    """Everything that the job names there, whether or not a copy is here."""
    data = [source.path for source in sources_of(job.data) if isinstance(source, HubData | MixedHub)]
    tokenizer = [job.data.tokenizer.path] if isinstance(job.data.tokenizer, PretrainedTokenizer) else []
    match job.model.init:
        case FinishedInit() as init:
            model = [init.path]
        case GuideInit() | TileInit() as init:
            model = [init.teacher]
        case _:
            model = []
    teacher = [named] if (named := teacher_of(job)) is not None else []
    return [path for path in [*data, *tokenizer, *model, *teacher] if is_name(path)]


def is_name(path: str) -> bool:
    """Is it a name on the Hub? read_job has made paths absolute; those, and samples, are local_files.py's; what is an
    earlier run's is from_run.py's."""
    return not Path(path).is_absolute() and not path.startswith((PREFIX, RUN_PREFIX))


def cached(kind: str, name: str) -> bool:
    return (hub_cache() / f"{kind}--{name.replace('/', '--')}").is_dir()
