"""Rows for vectors of texts that stand alone: one text a row, between the tokenizer's marks. What is asked of it, its
teacher's vector, no file holds; so its first token has the row's number as its label, and the others none.

    row       [CLS] document [SEP]
    labels     17      -       -
"""

import numpy as np

from runjob.data.batches import IGNORED
from runjob.data.framed_rows import FramedRows
from runjob.data.rows import Ints


class TextRows(FramedRows):
    """One row a document (a rule of the job)."""

    def asked(self, number: int, *, start: int, end: int, input_ids: Ints) -> Ints:
        labels = np.full(len(input_ids), IGNORED)
        labels[0] = number
        return labels
