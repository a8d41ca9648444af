#!/usr/bin/env bash
# Everything Weft needs on a Debian 12 machine that has nothing but Node.js: Debian packages, npm packages, the build. Safe to repeat; quick when
# nothing is missing. Speaks on standard error only, so that a command's JSON stays alone on standard output.
set -euo pipefail
exec 1>&2
cd "$(dirname "$0")/.."

say() { printf 'weft set-up: %s\n' "$*"; }
fail() { say "$1"; exit 1; }

[ "$(id -u)" = 0 ] || fail 'must run as root: it creates network namespaces, TAP devices and BPF programs (try sudo)'
node -e 'const [a,b]=process.versions.node.split(".").map(Number);process.exit(a>20||(a===20&&b>=20)?0:1)' ||
  fail "Node.js $(node --version) is too old: 20.20 or newer is needed"

# Said, not refused: the user-space engine runs everywhere.
kernel=$(uname -r)
IFS=.- read -r major minor _ <<<"$kernel"
if [ "$major" -lt 6 ] || { [ "$major" = 6 ] && [ "${minor%%[!0-9]*}" -lt 1 ]; }; then
  say "kernel $kernel is older than 6.1, the oldest that the kernel engine was tried on: agents may fall back to the slow user-space engine"
elif [ ! -r /sys/kernel/btf/vmlinux ]; then
  say "kernel $kernel does not tell its types (no /sys/kernel/btf/vmlinux; CONFIG_DEBUG_INFO_BTF is off): the kernel engine will not load, agents fall back to the slow user-space engine"
fi

packages=(clang llvm libbpf-dev libelf-dev zlib1g-dev bpftool g++ make python3 nats-server iproute2 nftables ethtool tcpdump
  util-linux procps iputils-ping iperf3 coturn busybox-static qemu-system-x86 cpio xz-utils kmod)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
  command -v apt-get >/dev/null || fail "these Debian packages are missing and apt-get is not there: ${missing[*]}"
  say "installing Debian packages: ${missing[*]}"
  log=$(mktemp)
  # Daemons that packages bring are not started: Weft starts its own, with its own ports and stores.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 ||
    { tail -n 30 "$log"; fail "apt-get failed (whole log: $log)"; }
  rm -f "$log"
fi

# The kernel that QEMU guests boot: unpacked beside the project, never installed on this machine.
bash scripts/guest-kernel.sh || say 'no guest kernel: QEMU guests will not start (the tests that need one will say so and fail)'

stamp=node_modules/.weft-lock
if ! cmp -s package-lock.json "$stamp"; then
  say 'installing npm packages'
  npm ci --loglevel=error --no-audit --no-fund
  cp package-lock.json "$stamp"
fi

node scripts/build.mjs
