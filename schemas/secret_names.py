"""Variables of the environment that let in whoever has them, by their names, and which programs of a run need them. The
others are started without: a secret that a process does not have can't be in its log, its dump or its children."""

from collections.abc import Mapping

HUB = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACEHUB_API_TOKEN")
TRACKERS = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD")
CLOUD = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_CONNECTION_STRING"),
    *("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_CLIENT_SECRET"),
)
ALL = (*HUB, *TRACKERS, *CLOUD)
# Programs of a plan, and two of the system's: ssh may reach its host through a program that asks a cloud for the way
NEEDED: Mapping[str, tuple[str, ...]] = {
    "prepare": (*HUB, *CLOUD),
    "train": ALL,
    "upload": CLOUD,
    "spot_notice": (),
    "ssh": CLOUD,
    "sbatch": (),
}


def environment_for(program: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The same without the secrets that this program has no need of.

    >>> environment_for("upload", {"HF_TOKEN": "a", "AWS_SESSION_TOKEN": "b", "HOME": "/root"})
    {'AWS_SESSION_TOKEN': 'b', 'HOME': '/root'}
    """
    held_back = {*ALL} - {*NEEDED[program]}
    return {name: value for name, value in environment.items() if name not in held_back}
