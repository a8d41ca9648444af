import { parseMac } from '@weft/packet';
import type { HomeNamespace } from './home-namespace.ts';

// The kernel's routes and neighbours, asked through `ip`: an AF_PACKET socket fills in the outer MAC addresses itself.

/** A row of the kernel's neighbour table. */
export interface Neighbor {
  readonly mac: Uint8Array;
  /** False if the kernel has not heard from it lately. */
  readonly isConfirmed: boolean;
}

/** What {@link NextHops} needs of the host. */
export interface NeighborCommands {
  /** Address of the next hop towards a provider address, itself if it is on the link; undefined if no route leads there by the underlay. */
  nextHop(pa: string): Promise<string | undefined>;
  /** Neighbours on the underlay with a usable MAC address, by address. */
  neighbors(): Promise<ReadonlyMap<string, Neighbor>>;
  /** Has the kernel ask for the MAC addresses of these. */
  solicit(addresses: readonly string[]): Promise<void>;
}

interface RouteRow {
  readonly type?: string;
  readonly gateway?: string;
  readonly dev?: string;
}

interface NeighborRow {
  readonly dst: string;
  readonly lladdr?: string;
  readonly state?: readonly string[];
}

const ETHERNET = /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/;
const CONFIRMED: ReadonlySet<string> = new Set(['REACHABLE', 'PERMANENT', 'NOARP', 'PROBE', 'DELAY']);
const UNUSABLE: ReadonlySet<string> = new Set(['FAILED', 'INCOMPLETE', 'NONE']);

export function neighborCommands(home: HomeNamespace, device: string, ownPa: string): NeighborCommands {
  return {
    async nextHop(pa) {
      const text = await home.command('ip', ['-json', 'route', 'get', pa, 'from', ownPa, 'oif', device]);
      const [route] = parseRows<RouteRow>(text);
      if (route === undefined || route.dev !== device || (route.type !== undefined && route.type !== 'unicast')) return undefined;
      return route.gateway ?? pa;
    },
    async neighbors() {
      const found = new Map<string, Neighbor>();
      for (const { dst, lladdr, state = [] } of parseRows<NeighborRow>(
        await home.command('ip', ['-json', '-4', 'neigh', 'show', 'dev', device]),
      )) {
        if (lladdr === undefined || !ETHERNET.test(lladdr) || state.some((one) => UNUSABLE.has(one))) continue;
        found.set(dst, { mac: parseMac(lladdr), isConfirmed: state.some((one) => CONFIRMED.has(one)) });
      }
      return found;
    },
    async solicit(addresses) {
      const lines = addresses.map((address) => `neigh replace ${address} dev ${device} nud none use\n`);
      await home.command('ip', ['-force', '-batch', '-'], lines.join(''));
    },
  };
}

function parseRows<T>(text: string | undefined): T[] {
  const trimmed = text?.trim() ?? '';
  if (trimmed === '') return [];
  try {
    return JSON.parse(trimmed) as T[];
  } catch {
    return [];
  }
}
