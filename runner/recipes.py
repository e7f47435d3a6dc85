"""What a new job file can begin from: five families, each by the shipped job that trains it in minutes and by that
of full size. `runjob init` writes one of them with your data in it, `runjob ls` lists them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from runjob.runner.text import did_you_mean
from runjob.schemas.errors import JobError

Size = Literal["small", "base"]
SIZES: tuple[Size, ...] = get_args(Size)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """`small` and `base` are names of shipped jobs; the first of `objectives` is theirs."""

    name: str
    summary: str
    objectives: tuple[str, ...]
    small: str
    base: str

    def job(self, size: Size) -> str:
        return self.small if size == "small" else self.base


RECIPES = (
    Recipe(
        name="gpt2",
        summary="a GPT-2 that writes text",
        objectives=("clm",),
        small="tiny/gpt2_dutch",
        base="gpt2_dutch_small",
    ),
    Recipe(
        name="deberta",
        summary="a DeBERTa that fills in hidden words, for the texts of a field",
        objectives=("mlm",),
        small="tiny/paleo_dapt",
        base="paleo_dapt",
    ),
    Recipe(
        name="modernbert",
        summary="a small ModernBERT, begun from a larger one by GUIDE",
        objectives=("mlm",),
        small="tiny/modernbert_student",
        base="modernbert_student",
    ),
    Recipe(
        name="canine",
        summary="a CANINE that reads characters, for names and short lines",
        objectives=("mlm", "char_ar"),
        small="tiny/canine_domains",
        base="canine_domains",
    ),
    Recipe(
        name="mpnet",
        summary="an MPNet that predicts hidden words in a shuffled order",
        objectives=("plm",),
        small="tiny/mpnet",
        base="mpnet_100k",
    ),
)
OBJECTIVES = tuple(dict.fromkeys(objective for recipe in RECIPES for objective in recipe.objectives))


def find_recipe(name: str | None, objective: str | None) -> Recipe:
    """The recipe of that name, or the first with that objective; JobError where the two do not fit."""
    fitting = [recipe for recipe in RECIPES if objective is None or objective in recipe.objectives]
    if name is None:
        if objective is None:
            raise JobError(f"init: say what to train: --recipe {'|'.join(names(RECIPES))}, or --objective")
        if not fitting:
            raise JobError(f"init --objective {objective}: no recipe has it; there are: {', '.join(OBJECTIVES)}")
        return fitting[0]
    known = {recipe.name: recipe for recipe in RECIPES}
    if name not in known:
        said = f"init --recipe {name}: no such recipe, there are: {', '.join(known)}"
        raise JobError(said + did_you_mean(name, known))
    if known[name] not in fitting:
        said = f"init --recipe {name} --objective {objective}: it learns {' or '.join(known[name].objectives)}"
        raise JobError(f"{said}; of {objective} there is: {', '.join(names(fitting)) or 'none'}")
    return known[name]


def names(recipes: Sequence[Recipe]) -> list[str]:
    return [recipe.name for recipe in recipes]
