import { encodeProbe, PROBE_SHARDS_MAX, type Probe, ProbeType } from '@weft/forwarding';
import type { AgentClock } from '../components.ts';
import type { ProbeAnswer, ProbePort } from './ownership-driver.ts';

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

/** Questions of which an answer may still come, for each peer: more than are sent in the time that makes one silent. */
const OUTSTANDING_MAX = 32;

/**
 * Probes of one group through this host's control socket. Answers are read from where the kernel put them, so that a busy process takes none for missing; but the
 * kernel keeps the last one of each address only, and where groups have machines in common that is as often an answer to another group. So answers are taken from the
 * socket, too, where each of them comes.
 *
 * Which shards a probe asks about: those that the peer answered for last, then the others in turn, eight at a time.
 */
export class KernelProbes implements ProbePort {
  readonly #init: KernelProbesInit;
  readonly #hostOf = new Map<string, string>();
  readonly #valid = new Map<string, readonly number[]>();
  readonly #turn = new Map<string, number>();
  /** By provider address: nonces of questions without an answer, the oldest first. */
  readonly #asked = new Map<string, bigint[]>();
  #heard: ProbeReply[] = [];

  constructor(init: KernelProbesInit) {
    this.#init = init;
  }

  async send(peer: string, nonce: number, shards: readonly number[]): Promise<number | undefined> {
    const pa = this.#init.addressOf(peer);
    if (pa === undefined) return undefined;
    this.#hostOf.set(pa, peer);
    const asked = this.#asked.get(pa) ?? [];
    this.#asked.set(pa, [...asked.slice(1 - OUTSTANDING_MAX), BigInt(nonce)]);
    const error = await this.#init.sendDatagram(pa, requestOf(nonce, this.#choose(peer, shards)));
    // Later than it left by as long as this process was kept waiting: to the peer's advantage.
    return error === undefined ? this.#init.clock.now() : undefined;
  }

  /** An answer as it came to the socket, past the packet path's check of who sent it; to whichever group. Taken if it is to a question of this one. */
  heard(pa: string, { type, nonce, shards }: Probe): void {
    if (type !== ProbeType.REPLY || this.#asked.get(pa)?.includes(nonce) !== true) return;
    this.#heard.push({ pa, nonce, shards: shards.map(({ shard, epoch, isForwarding }) => ({ shard, epoch, valid: isForwarding })) });
  }

  answers(): readonly ProbeAnswer[] {
    const fresh: ProbeAnswer[] = [];
    const heard = this.#heard;
    this.#heard = [];
    for (const { pa, nonce, shards } of [...heard, ...this.#init.readReplies()]) {
      const peer = this.#hostOf.get(pa);
      const asked = this.#asked.get(pa) ?? [];
      const at = asked.indexOf(nonce);
      // Of another group, or read already.
      if (peer === undefined || at < 0) continue;
      asked.splice(at, 1);
      this.#valid.set(
        peer,
        shards.filter(({ valid }) => valid).map(({ shard }) => shard),
      );
      if (nonce <= BigInt(Number.MAX_SAFE_INTEGER)) fresh.push({ peer, nonce: Number(nonce), shards });
    }
    return fresh;
  }

  #choose(peer: string, shards: readonly number[]): readonly number[] {
    if (shards.length <= PROBE_SHARDS_MAX) return shards;
    const owned = (this.#valid.get(peer) ?? []).filter((shard) => shards.includes(shard)).slice(0, PROBE_SHARDS_MAX - 1);
    const others = shards.filter((shard) => !owned.includes(shard));
    const turn = this.#turn.get(peer) ?? 0;
    const room = PROBE_SHARDS_MAX - owned.length;
    this.#turn.set(peer, (turn + room) % others.length);
    return [...owned, ...Array.from({ length: Math.min(room, others.length) }, (_, index) => others[(turn + index) % others.length]!)];
  }
}

function requestOf(nonce: number, shards: readonly number[]): Uint8Array {
  return encodeProbe({
    type: ProbeType.REQUEST,
    nonce: BigInt(nonce),
    shards: shards.map((shard) => ({ shard, epoch: 0n, isForwarding: false })),
  });
}
