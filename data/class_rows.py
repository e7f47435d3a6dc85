"""Rows for a head that says of which kind a document is (data/classes.py): one label a row, which stands at its first
token.

    row       [CLS] document [SEP]
    labels    school   -       -           nothing else is asked

Of a document that is longer than a row the first part is asked about.
"""

import numpy as np

from runjob.data.batches import IGNORED
from runjob.data.framed_rows import FramedRows
from runjob.data.rows import Ints


class ClassRows(FramedRows):
    """One row a document (a rule of the job)."""

    def asked(self, number: int, *, start: int, end: int, input_ids: Ints) -> Ints:
        labels = np.full(len(input_ids), IGNORED)
        labels[0] = self.document_label(number)
        return labels
