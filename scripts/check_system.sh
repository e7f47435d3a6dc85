#!/usr/bin/env bash
# Says what this machine lacks before anything is installed: every missing thing at once, each with its apt line.
# Usage: scripts/check_system.sh [PYTHON]   (default python3; exit 2 if something is missing)
set -u
python=${1:-python3}
problems=()

missing() { problems+=("$1"$'\n'"    sudo apt-get install -y $2"); }

# Debian names the packages of the default interpreter python3-venv and of a second one python3.12-venv.
package=$(basename "$python")
case "$package" in python3 | python3.*) ;; *) package=python3 ;; esac

if ! command -v "$python" >/dev/null 2>&1; then
    missing "$python: no such program (runjob needs Python 3.11 or 3.12)" "$package $package-venv $package-dev"
else
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    case "$version" in
    3.11 | 3.12) ;;
    *) problems+=("$python is Python $version; runjob needs 3.11 or 3.12: name one, as in \`make run PYTHON=python3.12\`") ;;
    esac
    # Debian splits ensurepip off: `import venv` works there without it, and making the environment fails.
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        missing "$python: the venv module is missing" "$package-venv"
    # DeepSpeed compiles its CPU optimiser on the first start, against these headers.
    "$python" -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(sysconfig.get_paths()["include"] + "/Python.h"))' ||
        missing "$python: the header Python.h is missing" "$package-dev"
fi
command -v make >/dev/null 2>&1 || missing "make: no such program" "make"
command -v g++ >/dev/null 2>&1 || missing "g++: no such program" "g++"

[ ${#problems[@]} -eq 0 ] && exit 0
echo "This machine lacks ${#problems[@]} of the things that runjob needs:" >&2
printf '  %s\n' "${problems[@]}" >&2
exit 2
