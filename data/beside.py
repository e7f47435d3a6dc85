"""What may stand beside a text, and what its numbers mean."""

from runjob.data.classes import Classes, DocumentLabels
from runjob.data.labels import Labelling, Tags
from runjob.data.pairs import Pairing, Relations
from runjob.data.text_pairs import Roles, TextPairing

Beside = Labelling | Pairing | DocumentLabels | TextPairing
# What the outputs of a head are called
Names = Tags | Relations | Classes
Numbered = Names | Roles
