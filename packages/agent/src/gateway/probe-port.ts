import type { AgentClock } from '../components.ts';
import type { ProbeAnswer, ProbePort } from './ownership-driver.ts';

/** Shards that one probe can ask about; docs/gateway-contract.md section 9. */
export const MAX_PROBED_SHARDS = 8;

const MAGIC = 0x57465052; // "WFPR"
const VERSION = 1;
const REQUEST = 1;
const HEADER_BYTES = 16;
const SHARD_BYTES = 16;

/** A probe request as docs/gateway-contract.md section 9 draws it. @param nonce 53 bits. @throws {RangeError} For more than 8 shards. */
export function encodeProbe(nonce: number, shards: readonly number[]): Uint8Array {
  if (shards.length > MAX_PROBED_SHARDS)
    throw new RangeError(`Cannot probe ${shards.length} shards at once: must be at most ${MAX_PROBED_SHARDS}`);
  const bytes = new Uint8Array(HEADER_BYTES + SHARD_BYTES * shards.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC);
  view.setUint8(4, VERSION);
  view.setUint8(5, REQUEST);
  view.setUint8(6, shards.length);
  view.setBigUint64(8, BigInt(nonce));
  for (const [index, shard] of shards.entries()) view.setUint32(HEADER_BYTES + SHARD_BYTES * index, shard);
  return bytes;
}

/** What the kernel noted of the answer heard last from a provider address. */
export interface ProbeReply {
  /** IPv4 text. */
  readonly pa: string;
  readonly nonce: bigint;
  readonly shards: readonly { readonly shard: number; readonly epoch: bigint; readonly valid: boolean }[];
}

export interface KernelProbesInit {
  readonly clock: Pick<AgentClock, 'now'>;
  readonly addressOf: (hostId: string) => string | undefined;
  readonly sendDatagram: (providerAddress: string, message: Uint8Array) => Promise<Error | undefined>;
  /** The kernel's notes: one for each address that ever answered. */
  readonly readReplies: () => readonly ProbeReply[];
}

/**
 * Probes through this host's control socket; answers are read from where the kernel put them, so that a busy process takes none for missing.
 *
 * Which shards a probe asks about: those that the peer answered for last, then the others in turn, eight at a time.
 */
export class KernelProbes implements ProbePort {
  readonly #init: KernelProbesInit;
  readonly #read = new Map<string, bigint>();
  readonly #hostOf = new Map<string, string>();
  readonly #valid = new Map<string, readonly number[]>();
  readonly #turn = new Map<string, number>();

  constructor(init: KernelProbesInit) {
    this.#init = init;
  }

  async send(peer: string, nonce: number, shards: readonly number[]): Promise<number | undefined> {
    const pa = this.#init.addressOf(peer);
    if (pa === undefined) return undefined;
    this.#hostOf.set(pa, peer);
    const error = await this.#init.sendDatagram(pa, encodeProbe(nonce, this.#choose(peer, shards)));
    // Later than it left by as long as this process was kept waiting: to the peer's advantage.
    return error === undefined ? this.#init.clock.now() : undefined;
  }

  answers(): readonly ProbeAnswer[] {
    const fresh: ProbeAnswer[] = [];
    for (const { pa, nonce, shards } of this.#init.readReplies()) {
      const peer = this.#hostOf.get(pa);
      if (peer === undefined || this.#read.get(pa) === nonce) continue;
      this.#read.set(pa, nonce);
      this.#valid.set(
        peer,
        shards.filter(({ valid }) => valid).map(({ shard }) => shard),
      );
      if (nonce <= BigInt(Number.MAX_SAFE_INTEGER)) fresh.push({ peer, nonce: Number(nonce), shards });
    }
    return fresh;
  }

  #choose(peer: string, shards: readonly number[]): readonly number[] {
    if (shards.length <= MAX_PROBED_SHARDS) return shards;
    const owned = (this.#valid.get(peer) ?? []).filter((shard) => shards.includes(shard)).slice(0, MAX_PROBED_SHARDS - 1);
    const others = shards.filter((shard) => !owned.includes(shard));
    const turn = this.#turn.get(peer) ?? 0;
    const room = MAX_PROBED_SHARDS - owned.length;
    this.#turn.set(peer, (turn + room) % others.length);
    return [...owned, ...Array.from({ length: Math.min(room, others.length) }, (_, index) => others[(turn + index) % others.length]!)];
  }
}
