"""How much memory a step takes: what runner/memory_kept.json is made from, and how far the estimate is from whole steps
(docs/memory.md)."""
