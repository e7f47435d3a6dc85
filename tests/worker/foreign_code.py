"""A model whose architecture is defined by code that lies beside it, as repositories on the Hub bring it."""

import json
from pathlib import Path

FAMILY = "theirs"
# What it does besides shows that it ran
CODE = """
from pathlib import Path

from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

Path({ran!r}).touch()


class Config(GPT2Config):
    model_type = "theirs"


class Model(GPT2LMHeadModel):
    config_class = Config


Tokenizer = GPT2Tokenizer
"""


def plant_code(directory: Path, ran: Path, *, family: str = FAMILY, repository: str = "") -> None:
    """Make the GPT-2 that was saved there one of `family`, whose code makes the file `ran` when it is imported;
    `repository`: it lies in that one on the Hub."""
    (directory / "theirs.py").write_text(CODE.format(ran=str(ran)))
    config = json.loads((directory / "config.json").read_text())
    config |= {"model_type": family, "architectures": ["Model"]}
    there = f"{repository}--theirs" if repository else "theirs"
    config["auto_map"] = {"AutoConfig": f"{there}.Config", "AutoModelForCausalLM": f"{there}.Model"}
    (directory / "config.json").write_text(json.dumps(config))
