"""The making of one store: which documents are copies, the tokenizer if it is to be trained, the sides, the summary,
the rename.

    .building-<fingerprint>/unfinished/   what is needed until the end only (data/journal.py)
    .building-<fingerprint>/tokenizer/    moved here whole
    .building-<fingerprint>/train/ ...    grown part by part
    .building-<fingerprint>/store.json    moved here when all is on the disk: what is left then is clearing up

One pass over the source where the tokenizer exists, one more where it is trained, one more where copies are looked for;
the corpus streams by in each, and only a few batches of documents are ever in memory. What a killed process had on the
disk is gone on with: the bytes of the store are the same.
"""

import dataclasses
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runjob.data import tokenizers
from runjob.data.documents import SHOWN, refusal, too_many
from runjob.data.duplicates import Copies
from runjob.data.file_sums import FileSummary, settle_files
from runjob.data.journal import End
from runjob.data.progress import Reporter
from runjob.data.split import refuse_empty_sides, sides_of
from runjob.data.store import FORMAT, Budget, SideName, Summary, write_sum
from runjob.data.tokenise import CHANGED, Tokenising, Written
from runjob.data.vocabulary import Extension, save_extended
from runjob.data.writer import token_type
from runjob.schemas.errors import DataError, JobError
from runjob.schemas.job_data import Trained
from runjob.schemas.quantities import counted
from runjob.schemas.run import sync_path, write_json


@dataclass(frozen=True, kw_only=True)
class Build:
    """`tokenizer` is None where one is to be trained as `to_train` says."""

    tokenising: Tokenising
    deduplicate: bool
    bad_rows: float
    tokenizer: Any
    to_train: Trained | None
    extension: Extension
    reporter: Reporter

    @staticmethod
    def folder(path: Path) -> Path:
        """Where the store is made that will lie at `path`."""
        return path.with_name(f".building-{path.name}")

    def write(self, path: Path, *, fingerprint: str, origin: dict[str, Any]) -> None:
        """Make the store at `path`, or go on with it; whatever interrupts this, `path` holds all of it or does not
        exist. We hold the lock, so nobody else is writing there."""
        building = self.folder(path)
        unfinished = building / "unfinished"
        summary = building / "store.json"
        if not summary.exists():
            unfinished.mkdir(parents=True, exist_ok=True)
            try:
                written = dataclasses.asdict(self._make(building, unfinished, fingerprint=fingerprint, origin=origin))
            except (DataError, JobError):  # corpus or settings are not fit, or damaged is what is there
                shutil.rmtree(building)
                raise
            write_json(unfinished / summary.name, written)
            (unfinished / summary.name).rename(summary)
        write_sum(summary)
        sync_path(building)
        shutil.rmtree(unfinished, ignore_errors=True)
        building.rename(path)
        sync_path(path.parent)

    def _make(self, building: Path, unfinished: Path, *, fingerprint: str, origin: dict[str, Any]) -> Summary:
        if self.deduplicate:
            self._find_copies(unfinished)
        tokenizer = self._tokenizer(building / "tokenizer", unfinished / "tokenizer")
        written = self.tokenising.write(building, tokenizer, journal=unfinished / "journal.json")
        self._refuse_empty_sides(written)
        self._refuse_bad_rows(written)
        if not self.tokenising.unchanged():
            raise DataError(CHANGED)
        return Summary(
            format=FORMAT,
            fingerprint=fingerprint,
            token_type=token_type(len(tokenizer)),
            train=written.sides["train"],
            validation=written.sides["validation"],
            test=written.sides.get("test"),
            left_out=written.end.left_out,
            budget=self._budget(written.end),
            tokenizer=tokenizers.summarise(tokenizer),
            files=self._list_files(building, but=unfinished),
            origin=origin,
        )

    def _find_copies(self, unfinished: Path) -> None:
        selection, kept, scratch = self.tokenising.selection, unfinished / "copies.npy", unfinished / "copies"
        if kept.exists():
            selection.copies = Copies.load(kept)
            return
        shutil.rmtree(scratch, ignore_errors=True)
        self.reporter.begin("looking for copies")
        copies = selection.leave_out_copies(
            scratch=scratch, advance=lambda: self.reporter.advance(documents=1, tokens=0)
        )
        copies.save(kept)
        self.reporter.reach(selection.corpus.total, documents=0, tokens=0)
        self.reporter.end()

    def _tokenizer(self, kept: Path, beside: Path) -> Any:  # noqa: ANN401
        """As it was saved, whoever trained it: what is loaded and what was trained save themselves differently."""
        if self.tokenizer is not None or not kept.exists():
            shutil.rmtree(beside, ignore_errors=True)
            tokenizer, table = self.extension.apply(self.tokenizer or self._train_tokenizer())
            save_extended(tokenizer, table, beside)
            for file in beside.iterdir():
                sync_path(file)
            shutil.rmtree(kept, ignore_errors=True)
            beside.rename(kept)
            sync_path(kept.parent)
            if self.tokenizer is not None:
                return tokenizer
        return tokenizers.load_saved(kept)

    def _train_tokenizer(self) -> Any:  # noqa: ANN401
        assert self.to_train is not None
        tokenising = self.tokenising
        counts: dict[SideName, int] = {}

        def training_texts() -> Iterator[str]:
            counts.update(dict.fromkeys(sides_of(tokenising.split), 0))
            # All of the training side, whatever the budget: runs that differ in it alone share one vocabulary.
            before = None
            for side, _, document in tokenising.documents():
                counts[side] += 1
                self.reporter.advance(documents=1, tokens=0)
                labelled = document.labelled
                apart = labelled is None or labelled.whole is None or labelled.mate is not None
                text = document.text if apart else document.unmarked
                # the other sides stay unseen, by the tokenizer too; and of pairs their text is seen once
                if side == "train" and (apart or text != before):
                    yield text
                before = text
            self.reporter.last_part("all is read; choosing the vocabulary")

        self.reporter.begin("training the tokenizer")
        tokenizer = tokenizers.train(training_texts, self.to_train)
        self.reporter.end()
        left_out = tokenising.selection.left_out
        refuse_empty_sides(tokenising.split, counts, left_out=left_out, together=tokenising.together)
        return tokenizer

    def _refuse_empty_sides(self, written: Written) -> None:
        tokenising = self.tokenising
        counts = {side: summary.documents for side, summary in written.sides.items()}
        missing = next((side for side, count in counts.items() if not count), None)
        if written.end.budget_reached and missing is not None:
            fixed = ", ".join(f"{side}: 100" for side in counts if side != "train")
            read = counted(counts["train"], "training document")
            said = "" if tokenising.together else f", or take those that come first: split: {{kind: first, {fixed}}}"
            raise DataError(
                f"data.token_budget: {tokenising.token_budget:,} is reached after {read}, before the first one "
                f"for {missing}; raise it{said}"
            )
        refuse_empty_sides(tokenising.split, counts, left_out=written.end.left_out, together=tokenising.together)

    def _refuse_bad_rows(self, written: Written) -> None:
        """Where the budget ended the reading, no source was read to its end, where it judges by itself."""
        left_out, corpus = written.end.left_out, self.tokenising.selection.corpus
        rows = sum(dataclasses.asdict(left_out).values()) + sum(side.documents for side in written.sides.values())
        if written.end.budget_reached and too_many(left_out.bad, rows=rows, allowed=self.bad_rows):
            said = refusal(corpus.first_bad_rows[:SHOWN], count=left_out.bad, rows=rows, allowed=self.bad_rows)
            raise DataError(said)

    def _budget(self, end: End) -> Budget | None:
        tokens = self.tokenising.token_budget
        if tokens is None:
            return None
        total = self.tokenising.selection.corpus.total
        return Budget(tokens=tokens, reached=end.budget_reached, read_bytes=end.read_bytes, source_bytes=total)

    def _list_files(self, directory: Path, *, but: Path) -> dict[str, FileSummary]:
        """Size and sha256 of every file, after it has reached the disk."""
        paths = [path for path in directory.rglob("*") if path.is_file() and but not in path.parents]
        self.reporter.begin("checking", total_bytes=sum(path.stat().st_size for path in paths))
        files = settle_files(directory, paths, told=self.reporter.read)
        self.reporter.end()
        return files
