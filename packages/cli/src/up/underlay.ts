import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import { CliError, CliErrorCode } from '../core/errors.ts';

export interface Underlay {
  readonly iface: string;
  readonly address: string;
}

/** IPv4 addresses of this machine's interfaces. */
export type Interfaces = Readonly<Record<string, readonly string[]>>;

export function readInterfaces(): Interfaces {
  return Object.fromEntries(
    Object.entries(networkInterfaces()).map(([name, addresses]) => [
      name,
      (addresses ?? []).flatMap((address) => (address.family === 'IPv4' ? [address.address] : [])),
    ]),
  );
}

/** The interface of the default route with the lowest metric in `/proc/net/route`; undefined when there is none. */
export function defaultRouteInterface(table: string): string | undefined {
  const defaults = table
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[1] === '00000000' && fields[7] === '00000000')
    .sort((a, b) => Number(a[6]) - Number(b[6]));
  return defaults[0]?.[0];
}

/**
 * The underlay: what was asked for, completed. Without an interface it is the one that has the provider address; without either, that of the default route.
 *
 * @throws {CliError} `WEFT_ERR_CLI_USAGE` when this machine has no such interface or address, or it is not clear which is meant.
 */
export function chooseUnderlay(
  asked: { readonly iface?: string | undefined; readonly address?: string | undefined },
  interfaces: Interfaces = readInterfaces(),
  routes: string = readFileSync('/proc/net/route', 'utf8'),
): Underlay {
  const all = Object.entries(interfaces).flatMap(([iface, addresses]) => addresses.map((address) => ({ iface, address })));
  const shown = all.map(({ iface, address }) => `${iface} ${address}`).join(', ') || 'none';
  const bad = (what: string): CliError => new CliError(CliErrorCode.Usage, `${what}; this machine has: ${shown}`);
  if (asked.address !== undefined) {
    const found = all.find(({ iface, address }) => address === asked.address && (asked.iface === undefined || iface === asked.iface));
    if (found === undefined)
      throw bad(`No interface${asked.iface === undefined ? '' : ` ${asked.iface}`} with provider address ${asked.address}`);
    return found;
  }
  const iface = asked.iface ?? defaultRouteInterface(routes);
  if (iface === undefined) throw bad('There is no default route to tell the underlay by: pass --underlay and --provider-address');
  const addresses = interfaces[iface] ?? [];
  if (addresses.length === 1) return { iface, address: addresses[0]! };
  throw bad(
    addresses.length === 0
      ? `Interface ${iface} has no IPv4 address to use as provider address`
      : `Interface ${iface} has several addresses: pass --provider-address`,
  );
}
