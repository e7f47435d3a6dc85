#!/usr/bin/env bash
# The Debian packages that only some tests need: Slurm, sshd, rsync, zsh, fish, npm, a browser. As root, on Debian 12 or Ubuntu 24.04;
# asked only if something is missing. Without them those tests are skipped, and say so; .ci/run does not let them.
set -euo pipefail
PATH=$PATH:/usr/sbin
missing=0
for program in slurmctld slurmd sbatch munged sshd ssh rsync zsh fish node npm chromium; do
    command -v "$program" >/dev/null 2>&1 || { echo "$program: no such program" >&2; missing=1; }
done
[ "$missing" -eq 0 ] && exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# No service is to be started by the installation: the tests start their own, in folders of their own.
if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
packages=(slurm-wlm munge openssh-server openssh-client rsync zsh fish chromium)
# Debian's npm does not go with a node from elsewhere, which brings its own.
command -v npm >/dev/null 2>&1 || packages+=(nodejs npm)
apt-get install -yq --no-install-recommends "${packages[@]}"
