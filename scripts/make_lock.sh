#!/usr/bin/env bash
# Writes requirements.lock: the sha256 of every file that the package index has of the versions in constraints.txt, for
# `make install HASHES=1`. Without torch, which comes in builds that other indexes keep, and DeepSpeed, which is built
# where it is installed. Usage: scripts/make_lock.sh [PYTHON]
set -euo pipefail
cd "$(dirname "$0")/.."
unset PIP_CONSTRAINT
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${1:-python3}" -m venv "$scratch/venv"
# pip knows the hash of the one file that it takes, uv those of all: one lock for every Python and every machine.
"$scratch/venv/bin/python" -m pip install --quiet uv
grep -vE '^(#|torch==|deepspeed==)' constraints.txt >"$scratch/pinned.txt"
{
    echo "# The sha256 of every file of every version in constraints.txt, but for torch and DeepSpeed."
    echo "# Made by scripts/make_lock.sh; pip checks it in \`make install HASHES=1\`, and so in CI."
    "$scratch/venv/bin/uv" pip compile "$scratch/pinned.txt" --quiet --no-deps --generate-hashes --universal \
        --python-version 3.11 --no-header --no-annotate
} >"$scratch/requirements.lock"
cp "$scratch/requirements.lock" requirements.lock
