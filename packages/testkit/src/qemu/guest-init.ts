/**
 * The first and only program of a guest, for busybox's shell.
 *
 * It loads the modules, runs the VM's own set-up (`/etc/weft/setup`, from the overlay) and then serves the control channel, a virtio serial
 * port: a request is a line `ID SECONDS SCRIPT INPUT`, its answer a line `ID STATUS STDOUT STDERR`; scripts and texts are base64, an empty one
 * is `-`. Requests run side by side; a directory serves as the lock for the answers, as a port has one writer.
 *
 * With no one connected, a read of the port returns at once with nothing, hence the pause.
 */
export const GUEST_INIT: string = `#!/bin/sh
export PATH=/bin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mkdir -p /run/weft
while read -r module; do insmod "/lib/modules/$module" || echo "weft-init: cannot load $module"; done < /lib/modules/order

looks=0
while [ ! -e /sys/class/net/eth0 ] && [ $looks -lt 500 ]; do usleep 10000; looks=$((looks + 1)); done
sh /etc/weft/setup > /run/weft/setup.log 2>&1
echo $? > /run/weft/setup.status
cat /run/weft/setup.log

looks=0
port=
while [ $looks -lt 500 ]; do
  for candidate in /dev/vport*p*; do [ -c "$candidate" ] && port=$candidate; done
  [ -n "$port" ] && break
  usleep 10000
  looks=$((looks + 1))
done
exec 3<> "$port"
echo "weft-init: serving $port"

decode() { [ "$1" = - ] || echo "$1" | base64 -d; }
encode() { if [ -s "$1" ]; then base64 "$1" | tr -d '\\n'; else echo -n -; fi; }
answer() {
  until mkdir /run/weft/lock 2> /dev/null; do usleep 2000; done
  { echo -n "$1 $2 "; encode "$3/out"; echo -n ' '; encode "$3/err"; echo; } >&3
  rmdir /run/weft/lock
  rm -rf "$3"
}
serve() {
  dir=/run/weft/request-$1
  mkdir -p "$dir"
  decode "$3" > "$dir/script"
  decode "$4" > "$dir/in"
  timeout -s KILL "$2" sh "$dir/script" < "$dir/in" > "$dir/out" 2> "$dir/err" 3>&-
  answer "$1" $? "$dir"
}
while :; do
  if read -r id seconds script input <&3; then
    [ -n "$input" ] && serve "$id" "$seconds" "$script" "$input" &
  else
    usleep 20000
  fi
done
`;
