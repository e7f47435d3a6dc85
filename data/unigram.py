"""A unigram model of pieces, trained by the job: what SentencePiece and DeBERTa-v3 use (Kudo 2018). A word is cut into
the pieces that are together most probable; training looks for the pieces under which the corpus is.

    words of the corpus, counted  ->  every frequent substring of letters, of digits or of signs is a candidate
    again and again:   cut all words (in the library)  ->  probabilities from how often each piece was used
                       ->  drop the quarter of the candidates whose loss costs least
    until as many are left as the vocabulary holds; single characters always stay

The library's own trainer goes through a hash table whose order is another in every process, and adds floats up in that
order: four runs gave four sets of scores. Here every sum is of whole numbers, or in a sorted order, so the same texts
give the same tokenizer to the byte. Unlike Kudo's, a word counts for its best cut alone and not for all of them; on
sample:dutch with 4,096 pieces that makes 1.40 tokens a word where the library's makes 1.41.
"""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from runjob.data.pieces import SPECIAL, UNK, framed
from runjob.schemas.errors import JobError

SPACE = "▁"
# What this room makes of the same texts: another number wherever that changes, or an old store would be taken for a new
# one. 1 let letters, digits and signs share a piece.
TRAINER = 2
LONGEST = 16  # characters of a piece, as in SentencePiece
# Different words that are kept while counting: some 500 MB. Beyond, those that came once so far are forgotten.
MOST_WORDS = 4_000_000
# Words that pieces are learnt from, the most frequent ones; a corpus has its rarest words once each anyway.
LEARNT_FROM = 300_000
CANDIDATES_FROM = 100_000
# Of the candidates that stay in one round, and rounds of counting between two such cuts: SentencePiece's values
KEPT = 0.75
ROUNDS = 2
# Special tokens are pieces too. None is ever the best cut of a text: all of their characters are in the alphabet, and
# cost less than this together.
NEVER = -1000.0

Scores = dict[str, float]
Words = list[tuple[str, int]]


def train_unigram(texts: Iterable[str], *, vocab_size: int, lowercase: bool) -> Any:  # noqa: ANN401
    """[PAD] to [MASK] are the ids 0 to 4. Text is read in NFKC with single spaces; in lower case without accents."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    normalizer = _normalizer(lowercase=lowercase)
    words = _count_words(texts, normalizer)
    alphabet = sorted({character for word, _ in words for character in word} | set("".join(SPECIAL)))
    room = vocab_size - len(SPECIAL) - len(alphabet)
    if room < 0:
        raise JobError(
            f"data.tokenizer.vocab_size: {vocab_size} is too small: the characters of the training documents and of "
            f"the {len(SPECIAL)} special tokens, and these tokens, alone need {vocab_size - room}"
        )
    scores = _learn(words[:LEARNT_FROM], alphabet, room=room)
    ordered = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    pieces = [*((token, NEVER) for token in SPECIAL), *ordered]
    backend = Tokenizer(models.Unigram(pieces, unk_id=SPECIAL.index(UNK), byte_fallback=False))
    backend.normalizer = normalizer
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens(list(SPECIAL))
    return framed(backend)


def _normalizer(*, lowercase: bool) -> Any:  # noqa: ANN401
    from tokenizers import Regex, normalizers

    steps: list[Any] = [normalizers.NFKC()]
    if lowercase:
        steps += [normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents(), normalizers.NFC()]
    return normalizers.Sequence([*steps, normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()])


def _count_words(texts: Iterable[str], normalizer: Any) -> Words:  # noqa: ANN401
    """The most frequent first."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(normalizer.normalize_str(text).split(" "))
        if len(counts) > MOST_WORDS:
            counts = Counter({word: count for word, count in counts.items() if count > 1})
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(SPACE + word, count) for word, count in ordered if word]


def _learn(words: Words, alphabet: list[str], *, room: int) -> Scores:
    """Every character, and the `room` longer pieces that the words are worth most with, by their log probability."""
    scores = _candidates(words[:CANDIDATES_FROM], alphabet, most=max(10 * room, 10_000))
    while True:
        for _ in range(ROUNDS):
            scores = _probabilities(_use(words, scores), alphabet)
        longer = len(scores) - len(alphabet)
        if longer <= room:
            return {piece: round(score, 6) for piece, score in scores.items()}
        scores = _without_the_cheapest(_use(words, scores), scores, keep=max(room, int(KEPT * longer)))


def _candidates(words: Words, alphabet: list[str], *, most: int) -> Scores:
    counts: Counter[str] = Counter()
    for word, count in words:
        for start in range(len(word)):
            for end in range(start + 1, min(start + LONGEST, len(word)) + 1):
                counts[word[start:end]] += count
    longer = [(piece, count) for piece, count in counts.items() if len(piece) > 1 and count > 1 and _is_even(piece)]
    longer.sort(key=lambda item: (-item[1] * len(item[0]), item[0]))
    return _probabilities({**dict(longer[:most]), **{piece: counts[piece] for piece in alphabet}}, alphabet)


def _is_even(piece: str) -> bool:
    """Letters, digits and other signs share no piece, as SentencePiece keeps scripts and numbers apart: a label for
    "Trias" in "(Trias)," needs a token that ends where the word does."""
    kinds = {_kind(character) for character in piece.removeprefix(SPACE)}
    return len(kinds) <= 1


def _kind(character: str) -> str:
    """Marks that combine with a letter are letters."""
    category = unicodedata.category(character)[0]
    return {"L": "letter", "M": "letter", "N": "digit"}.get(category, "sign")


def _use(words: Words, scores: Scores) -> dict[str, int]:
    """How often each piece stands in the best cuts of all words."""
    from tokenizers import Tokenizer, models

    pieces = [(UNK, NEVER), *scores.items()]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    used = np.zeros(len(pieces), dtype=np.int64)
    for encoding, (_, count) in zip(backend.encode_batch_fast([word for word, _ in words]), words, strict=True):
        np.add.at(used, encoding.ids, count)
    return {piece: int(count) for (piece, _), count in zip(pieces[1:], used[1:].tolist(), strict=True)}


def _probabilities(used: Mapping[str, int], alphabet: list[str]) -> Scores:
    """Logarithms of the shares; what is never used is gone, but for characters, which count as used once."""
    kept = {piece: count for piece, count in used.items() if count} | {
        character: max(used.get(character, 0), 1) for character in alphabet
    }
    total = math.log(sum(kept.values()))
    return {piece: math.log(count) - total for piece, count in sorted(kept.items())}


def _without_the_cheapest(used: Mapping[str, int], scores: Scores, *, keep: int) -> Scores:
    """The `keep` longer pieces without which the corpus would lose most probability, and all characters."""
    losses = {
        piece: used[piece] * (score - _cut_otherwise(piece, scores))
        for piece, score in scores.items()
        if len(piece) > 1
    }
    kept = sorted(losses, key=lambda piece: (-losses[piece], piece))[:keep]
    return {piece: score for piece, score in scores.items() if len(piece) == 1} | {
        piece: scores[piece] for piece in kept
    }


def _cut_otherwise(piece: str, scores: Scores) -> float:
    """The log probability of the best cut of a piece into at least two."""
    best = [0.0, *[-math.inf] * len(piece)]
    for end in range(1, len(piece) + 1):
        for start in range(end):
            part = piece[start:end]
            if part != piece and part in scores:
                best[end] = max(best[end], best[start] + scores[part])
    return best[-1]
