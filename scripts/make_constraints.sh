#!/usr/bin/env bash
# Resolves pyproject.toml without any constraint in a throw-away environment and writes the versions it got to
# constraints.txt, and their hashes to requirements.lock. Usage: scripts/make_constraints.sh [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/.."
unset PIP_CONSTRAINT
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${1:-python3}" -m venv "$scratch/venv"
pip=("$scratch/venv/bin/python" -m pip)
# torch is chosen by hand: a new one changes sums in the last bits, so it enters with a look at the losses.
torch=$(sed -n 's/^torch==//p' constraints.txt)
"${pip[@]}" install "torch==${torch:?constraints.txt names no torch}" ".[dev]" setuptools wheel
{
    sed '/^#/!d' constraints.txt
    # Without local tags (2.13.0+cpu is 2.13.0) and without what only CUDA builds of torch bring: torch pins those itself.
    "${pip[@]}" freeze --all --exclude runjob --exclude pip |
        sed -E 's/\+[a-z0-9.]+$//' | grep -viE '^(nvidia-|cuda-|triton)'
} >"$scratch/constraints.txt"
cp "$scratch/constraints.txt" constraints.txt
scripts/make_lock.sh "${1:-python3}"
