"""Seeds as hashes of what they belong to, so that no generator's history decides anything."""

import hashlib


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed from named parts, the same on every machine: seed_of(job_seed, "dropout", step, first_sample)."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
