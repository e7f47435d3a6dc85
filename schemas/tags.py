"""How tags say spans of tokens: what they begin with, in the order of their numbers. O is 0, then come those of each
label in turn."""

from runjob.schemas.job_model import Scheme

# What stands for a token that belongs to no span, and for a pair that nothing relates
NOTHING = "O"
UNRELATED = "NO_RELATION"
PREFIXES: dict[Scheme, str] = {"BIO": "BI", "BILOU": "BILU"}
