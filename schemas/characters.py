"""What both sides must know of characters and of CANINE (Clark et al. 2022), which reads them."""

CODE_POINTS = 0x110000
# Characters that one in CANINE's deep encoder stands for, and how many its first layer looks at together
RATE, CHUNK = 4, 128
# Places behind a character that the last convolution sees (kernel 4: one before it, two behind)
BEHIND = 2


def padded_length(characters: int, *, rate: int = RATE, chunk: int = CHUNK) -> int:
    """What a row of CANINE is padded to: whole groups of `rate`, and two groups more: one that the encoder drops, one
    that the last character's window reaches into. Where that window may reach into the next chunk of the local
    attention, one of padding alone, to whole chunks: padding sees all the padding of its chunk.

    >>> [padded_length(characters) for characters in (18, 126, 127)]
    [28, 136, 256]
    """
    whole = rate * -(-characters // rate) + 2 * rate
    return whole if characters + BEHIND <= chunk else chunk * -(-whole // chunk)


def longest_row(positions: int, *, rate: int = RATE, chunk: int = CHUNK) -> int:
    """Characters that fit a table of so many positions together with their padding.

    >>> [longest_row(positions) for positions in (28, 136, 255, 256, 16384)]
    [20, 126, 126, 248, 16376]
    """
    in_chunks = rate * (chunk * (positions // chunk) // rate - 2) if positions >= 2 * chunk else 0
    return max(in_chunks, min(rate * (positions // rate - 2), chunk - BEHIND))
