import {
  type ExternalAddressEntry,
  FIRST_BLOCK,
  type NatFlow,
  type NatResult,
  NatState,
  type NatTables,
  natFreeRow,
  natSweep,
  type PortForwardEntry,
  PortMapping,
  SourceFlag,
  SourceRuleKind,
} from '@weft/forwarding';
import { formatIp, parseIp } from '@weft/packet';

// One network's port mapping, alone.

export const SECOND: bigint = 1_000_000_000n;
export const SEGMENT = 7;
export const NETWORK = 11;
const POOL = 1;
export const VM: Uint8Array = parseIp('10.0.0.1');
export const REMOTE: Uint8Array = parseIp('198.51.100.1');
export const EXTERNAL: readonly Uint8Array[] = ['203.0.113.1', '203.0.113.2'].map(parseIp);
const UDP = 17;

export class World {
  readonly state: NatState = new NatState();
  readonly forwards: Map<string, PortForwardEntry> = new Map();
  /** Rows of external addresses, by text; none: nothing is said of it. */
  readonly addresses: Map<string, ExternalAddressEntry> = new Map();
  network = { shard: 1, segment: SEGMENT };
  isOwner = true;
  now: bigint = 1000n * SECOND;
  readonly #nat: PortMapping;
  readonly #blocks: number;
  readonly #tables: NatTables = {
    gatewayNetwork: () => this.network as never,
    gatewayShard: () => ({ epoch: 5n, deadlineBootNs: this.isOwner ? 1n << 62n : 0n }) as never,
    externalAddress: (_segment, address) => this.addresses.get(formatIp(address)),
    portForward: (_segment, address, port, protocol) => this.forwards.get(`${formatIp(address)}/${port}/${protocol}`),
  };

  /** @param firstBlock Of this member's slice. */
  constructor(blocksPerAddress = 8, firstBlock = FIRST_BLOCK) {
    this.#blocks = blocksPerAddress;
    this.#nat = new PortMapping(this.state, this.#tables);
    this.state.set('pool', { pool: POOL }, { addresses: EXTERNAL.map((address) => ({ segment: SEGMENT, address })) });
    for (const address of EXTERNAL) {
      const own = new Uint8Array(128);
      for (let block = firstBlock; block < firstBlock + blocksPerAddress; block++) own[block >>> 3]! |= 1 << (block & 7);
      this.state.set('free', { segment: SEGMENT, address }, natFreeRow({ own, known: [], isHeld: () => false, freeAtS: 0 }));
    }
    this.quota({});
  }

  quota(limits: {
    readonly blocks?: number;
    readonly blocksPerSource?: number;
    readonly sessions?: number;
    readonly newFlowsPerSecond?: number;
  }): void {
    this.state.set(
      'quota',
      { networkId: NETWORK },
      { blocks: 1000, blocksPerSource: 100, sessions: 100_000, newFlowsPerSecond: 0, ...limits },
    );
  }

  /** Of the first external address. */
  forward(port: number, protocol: number, to: PortForwardEntry): void {
    this.forwards.set(`${formatIp(EXTERNAL[0]!)}/${port}/${protocol}`, to);
  }

  out(parts: Partial<NatFlow>): NatResult {
    const rule = { kind: SourceRuleKind.POOL, pool: POOL };
    return this.#nat.outbound(flow({ networkId: NETWORK, near: VM, remote: REMOTE, ...parts }), rule, this.now);
  }

  /** To what an outbound packet was translated to. */
  in(to: NatResult, parts: Partial<NatFlow>): NatResult {
    return this.#nat.inbound(flow({ near: to.address, nearPort: to.port, remote: REMOTE, ...parts }), {} as never, this.now);
  }

  /** Of each external address, for `poolShare`. */
  rings(): { readonly own: number; readonly free: () => number }[] {
    return EXTERNAL.map((address) => ({
      own: this.#blocks,
      free: () => this.state.get('free', { segment: SEGMENT, address })!.blocks.length,
    }));
  }

  /** Whether a source is giving its blocks back. */
  isReleasing(networkId: number, ca: Uint8Array): boolean {
    return ((this.state.get('source', { networkId, pool: POOL, ca })?.flags ?? 0) & SourceFlag.RELEASING) !== 0;
  }

  advance(seconds: number): void {
    this.now += BigInt(seconds) * SECOND;
  }

  /** @param budget Left out: enough to go round the queue twice and to give all blocks back, as an agent's is. */
  sweep(budget = 2 * this.state.queue.length + 2 + [...this.state.rows('usage')].reduce((sum, { value }) => sum + value.blocks, 0)): void {
    natSweep(this.state, this.#tables, { budget, nowBootNs: this.now });
  }
}

export function flow(parts: Partial<NatFlow>): NatFlow {
  return {
    networkId: 0,
    segment: SEGMENT,
    isIpv6: false,
    near: VM,
    remote: REMOTE,
    nearPort: 0,
    remotePort: 0,
    protocol: UDP,
    icmpType: 0,
    tcpFlags: 0,
    isError: false,
    isFragment: false,
    hasL4Header: true,
    fragmentId: 0,
    ipLength: 100,
    ...parts,
  };
}
