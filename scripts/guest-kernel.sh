#!/usr/bin/env bash
# Fetches Debian's cloud kernel for QEMU guests into .cache/guest-kernel/{vmlinuz,modules}; does nothing when it is there.
set -euo pipefail
cd "$(dirname "$0")/.."
target=.cache/guest-kernel
[ -s "$target/vmlinuz" ] && exit 0
package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | awk '/Depends: linux-image-/ {print $2; exit}')
if [ -z "$package" ]; then
  apt-get update -q >/dev/null
  package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/ {print $2; exit}')
fi
[ -n "$package" ] || { echo 'weft set-up: Debian package linux-image-cloud-amd64 is not known to apt' >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "weft set-up: fetching the guest kernel ($package)" >&2
(cd "$work" && { [ "$(id -u)" != 0 ] || chmod 777 .; } && apt-get download -q "$package" >/dev/null 2>&1) ||
  { apt-get update -q >/dev/null && (cd "$work" && apt-get download -q "$package" >/dev/null); }
dpkg-deb -x "$work"/*.deb "$work/x"
rm -rf "$target.new" && mkdir -p "$target.new"
cp "$work"/x/boot/vmlinuz-* "$target.new/vmlinuz"
root=$(echo "$work"/x/lib/modules/* "$work"/x/usr/lib/modules/* | tr ' ' '\n' | while read -r d; do [ -d "$d" ] && echo "$d" && break; done)
basename "$root" >"$target.new/version"
mkdir -p "$target.new/modules"
cp -r "$root/kernel/drivers/net" "$root/kernel/drivers/virtio" "$root/kernel/drivers/char" "$root/kernel/net" "$target.new/modules/" 2>/dev/null || true
cp "$root"/modules.* "$target.new/modules/" 2>/dev/null || true
rm -rf "$target" && mv "$target.new" "$target"
