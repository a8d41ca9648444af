import { guard, TunTapError } from './errors.ts';
import { checkRange } from './frame-source.ts';
import { checkInterfaceName } from './names.ts';
import { native } from './native.ts';

/** What {@link setLink} changes; what is left out stays. */
export interface LinkSettings {
  readonly up?: boolean;
  /** Whether the host resolves and answers ARP there. */
  readonly arp?: boolean;
  /** In bytes. */
  readonly mtu?: number;
  /** Device group, 0 to 2^31 - 1. */
  readonly group?: number;
  /** `false`: the host gives the interface no IPv6 address by itself. */
  readonly ipv6AddressGeneration?: false;
}

/** The index of an interface of the calling thread's network namespace; `undefined` if there is none of that name. */
export function interfaceIndex(name: string): number | undefined {
  checkInterfaceName(name);
  return guard(`look up "${name}"`, name, () => native().linkInfo(name))?.ifindex;
}

/** An interface as it is now. */
export interface LinkState {
  readonly ifindex: number;
  readonly isUp: boolean;
  /** It is up, and so is what it is connected to. */
  readonly hasCarrier: boolean;
  /** In bytes. */
  readonly mtu: number;
  /** Empty where it has none. */
  readonly mac: Uint8Array;
}

/**
 * Looks at an interface of the calling thread's network namespace; `undefined` if there is none of that name. A tenth of a millisecond, where `ip link show` takes the fork of the
 * whole process.
 *
 * @throws {TunTapError} `WEFT_ERR_TUNTAP_BAD_NAME`.
 */
export function linkState(name: string): LinkState | undefined {
  checkInterfaceName(name);
  const found = guard(`look up "${name}"`, name, () => native().linkInfo(name));
  if (found === null) return undefined;
  const { ifindex, up, carrier, mtu, mac } = found;
  return { ifindex, isUp: up, hasCarrier: up && carrier, mtu, mac };
}

/**
 * Changes settings of an interface of the calling thread's network namespace, all in one request. It is what `ip link set` does, in a tenth of a millisecond
 * instead of the several that starting a process takes.
 *
 * @throws {TunTapError} `WEFT_ERR_TUNTAP_NOT_FOUND`, `WEFT_ERR_TUNTAP_NOT_PERMITTED` (CAP_NET_ADMIN), `WEFT_ERR_TUNTAP_BAD_NAME`,
 *   `WEFT_ERR_TUNTAP_BAD_OPTION`, `WEFT_ERR_TUNTAP_SYSCALL` for what the device refuses, such as an MTU it can't have.
 * @see rtnetlink(7), RTM_NEWLINK
 */
export function setLink(name: string, settings: LinkSettings): void {
  checkInterfaceName(name);
  if (settings.mtu !== undefined) checkRange('mtu', settings.mtu, 0, 0xffff_ffff);
  if (settings.group !== undefined) checkRange('group', settings.group, 0, 0x7fff_ffff);
  const given = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
  if (Object.keys(given).length === 0)
    throw new TunTapError('WEFT_ERR_TUNTAP_BAD_OPTION', `Cannot set nothing of "${name}": give at least one setting`);
  guard(`set ${JSON.stringify(given)} of "${name}"`, name, () => native().setLink(name, given));
}
