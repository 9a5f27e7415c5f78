#!/usr/bin/env bash
# apt.sh PACKAGE... installs Debian packages without starting what they bring. Without the right to, says the command.
# Debian starts a package's services when it is installed (Prometheus on port 9090, a PostgreSQL cluster); the tests
# start their own, on ports of their own, so for the length of the installation policy-rc.d forbids starting any.
set -euo pipefail
if ! command -v apt-get >/dev/null; then
  echo "steersman: this machine has no apt-get; install what these Debian packages bring by other means: $*" >&2
  exit 1
fi
if [ "$(id -u)" = 0 ]; then
  as_root=()
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
  as_root=(sudo -n)
else
  echo "steersman: installing $* needs root; run this and try again:" >&2
  echo "  sudo apt-get install $*" >&2
  exit 1
fi
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod 755 "$policy"
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi
log=$(mktemp)
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" >"$log" 2>&1 </dev/null; }
echo "steersman: installing $*"
if ! { apt install -y --no-install-recommends "$@" || { apt update && apt install -y --no-install-recommends "$@"; }; }; then
  tail -n 20 "$log" >&2
  echo "steersman: apt-get could not install $*; its last words are above, all of them in $log" >&2
  exit 1
fi
rm -f "$log"
