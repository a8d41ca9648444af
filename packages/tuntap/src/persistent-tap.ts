import { guard, TunTapError } from './errors.ts';
import { checkInterfaceName } from './names.ts';
import { native } from './native.ts';
import { openTap } from './tap.ts';

/** Options of {@link createTap}. */
export interface CreateTapOptions {
  readonly name: string;
  readonly multiQueue?: boolean;
  readonly vnetHdr?: boolean;
  /** Numeric user who may open it without CAP_NET_ADMIN. Default: nobody in particular. */
  readonly owner?: number;
  /** Numeric group, as `owner`. */
  readonly group?: number;
}

/** What the kernel says of a TUN/TAP device. */
export interface TapInfo {
  readonly name: string;
  readonly ifindex: number;
  readonly up: boolean;
  readonly mode: 'tap' | 'tun';
  readonly multiQueue: boolean;
  readonly vnetHdr: boolean;
  readonly persistent: boolean;
  readonly owner?: number;
  readonly group?: number;
}

/**
 * Reads a TUN/TAP device of the calling thread's network namespace, without opening it.
 *
 * @returns `undefined` if there is no interface of that name.
 * @throws {TunTapError} `WEFT_ERR_TUNTAP_KIND_MISMATCH` if the interface is something else.
 */
export function inspectTap(name: string): TapInfo | undefined {
  checkInterfaceName(name);
  const info = guard(`inspect "${name}"`, name, () => native().linkInfo(name));
  if (info === null) return undefined;
  if (info.kind !== 'tun' || info.mode === undefined) {
    throw new TunTapError(
      'WEFT_ERR_TUNTAP_KIND_MISMATCH',
      `Cannot use "${name}" as a TAP: it is ${info.kind === '' ? 'a physical or loopback interface' : `of kind ${info.kind}`}`,
    );
  }
  return {
    name,
    ifindex: info.ifindex,
    up: info.up,
    mode: info.mode,
    multiQueue: info.multiQueue ?? false,
    vnetHdr: info.vnetHdr ?? false,
    persistent: info.persistent ?? false,
    ...(info.owner !== undefined && { owner: info.owner }),
    ...(info.group !== undefined && { group: info.group }),
  };
}

/**
 * Makes a persistent TAP without keeping it open. Idempotent: one that exists with these flags is left as it is, even while a VM holds it.
 *
 * @returns Whether it was made now.
 * @throws {TunTapError} `WEFT_ERR_TUNTAP_KIND_MISMATCH` if it exists as another kind of device, or with other queues; `WEFT_ERR_TUNTAP_BUSY`
 *   if a flag must change while somebody holds it; and as `openTap`.
 */
export function createTap(options: CreateTapOptions): boolean {
  const { name, multiQueue = false, vnetHdr = false, owner, group } = options;
  const found = inspectTap(name);
  if (found && (found.mode !== 'tap' || found.multiQueue !== multiQueue)) {
    const has = `${found.mode}, ${found.multiQueue ? 'multi' : 'single'}-queue`;
    throw new TunTapError(
      'WEFT_ERR_TUNTAP_KIND_MISMATCH',
      `Cannot create "${name}" as tap, ${multiQueue ? 'multi' : 'single'}-queue: it exists as ${has}; remove it first`,
    );
  }
  const matches =
    found?.persistent &&
    found.vnetHdr === vnetHdr &&
    (owner === undefined || found.owner === owner) &&
    (group === undefined || found.group === group);
  if (matches) return false;
  const tap = openTap({ name, multiQueue, vnetHdr });
  try {
    if (owner !== undefined) guard(`give "${name}" to user ${owner}`, name, () => native().tunIoctl(tap.fd, 'TUNSETOWNER', owner));
    if (group !== undefined) guard(`give "${name}" to group ${group}`, name, () => native().tunIoctl(tap.fd, 'TUNSETGROUP', group));
    tap.setPersistent(true);
    return found === undefined;
  } finally {
    tap.close();
  }
}

/**
 * Removes a persistent TUN/TAP device. Idempotent. A multi-queue device that others hold goes when the last of them closes it.
 *
 * @returns Whether there was one.
 * @throws {TunTapError} `WEFT_ERR_TUNTAP_BUSY` if a single-queue device is held, naming the holder; `WEFT_ERR_TUNTAP_KIND_MISMATCH` if it is no
 *   TUN/TAP device.
 */
export function removeTap(name: string): boolean {
  const found = inspectTap(name);
  if (found === undefined) return false;
  const tap = openTap({ name, mode: found.mode, multiQueue: found.multiQueue, vnetHdr: found.vnetHdr });
  try {
    tap.setPersistent(false);
  } finally {
    tap.close();
  }
  return true;
}
