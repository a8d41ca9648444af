#!/usr/bin/env bash
# Fetches Debian's cloud kernel for QEMU guests into .cache/guest-kernel/{boot/vmlinuz-*,lib/modules/*}; does nothing when it is there.
set -euo pipefail
cd "$(dirname "$0")/.."
target=.cache/guest-kernel
[ -e "$target/complete" ] && exit 0
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
source=$work/x
[ -d "$source/lib/modules" ] || source=$work/x/usr
version=$(ls "$source/lib/modules")
rm -rf "$target.new" && mkdir -p "$target.new/boot" "$target.new/lib/modules/$version/kernel/drivers"
cp "$work"/x/boot/vmlinuz-* "$target.new/boot/"
for part in drivers/net drivers/virtio drivers/char drivers/block drivers/hwmon lib net; do
  [ -d "$source/lib/modules/$version/kernel/$part" ] || continue
  mkdir -p "$(dirname "$target.new/lib/modules/$version/kernel/$part")"
  cp -r "$source/lib/modules/$version/kernel/$part" "$target.new/lib/modules/$version/kernel/$part"
done
cp "$source/lib/modules/$version"/modules.* "$target.new/lib/modules/$version/"
PATH=$PATH:/usr/sbin:/sbin depmod -b "$target.new" "$version" 2>/dev/null
touch "$target.new/complete"
rm -rf "$target" && mv "$target.new" "$target"
