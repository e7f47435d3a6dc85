#!/usr/bin/env bash
# The editor server that tests/editors talks to, by npm and at the versions of tests/editors/server/package-lock.json, into
# .editor-server (a name with a dot: nothing there is ours to read). A second call asks no network.
set -euo pipefail
cd "$(dirname "$0")/.."
source=tests/editors/server
target=.editor-server
cmp -s "$source/package-lock.json" "$target/.installed" && exit 0
command -v npm >/dev/null 2>&1 || { echo "npm: no such program; scripts/install_system_packages.sh installs it" >&2; exit 1; }
mkdir -p "$target"
cp "$source/package.json" "$source/package-lock.json" "$target/"
npm ci --prefix "$target" --ignore-scripts --no-audit --no-fund
cp "$source/package-lock.json" "$target/.installed"
