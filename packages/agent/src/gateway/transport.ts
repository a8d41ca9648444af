import { type Bus, type Identity, openEnvelope, type Subscription, signEnvelope } from '@weft/bus';
import type { Path } from '@weft/election';
import { isProbe } from '@weft/forwarding';
import { type OwnershipBody, type OwnershipMessage, ownershipMessageCodec, WeftError } from '@weft/model';
import type { AgentClock, AgentLogger } from '../components.ts';
import { messageOf } from '../errors.ts';

// Ownership messages between agents, on two paths at once: core NATS and UDP on the underlay. Signed by the sending host; on which path a
// message came, and how often, makes no difference.

/**
 * Copies of a message are dropped before their signature is verified, since both paths carry each. Only for so long: who says the same again says it because
 * no answer came, and its bytes are the same (Ed25519 signs without randomness).
 */
const COPY_MS = 30;
const REMEMBERED = 512;
/** A certificate, or a consent, goes to each host by datagram, but over NATS to all at once: not more often than this. */
const BROADCAST_MS = 20;

export interface OwnershipTransportInit {
  readonly hostId: string;
  readonly bus: Bus;
  readonly identity: Identity;
  readonly clock: Pick<AgentClock, 'now'>;
  readonly logger: AgentLogger;
  /** Sends a datagram to a provider address; gives why it could not. */
  readonly sendDatagram: (providerAddress: string, message: Uint8Array) => Promise<Error | undefined>;
  /** A host's provider address; undefined if it isn't known. */
  readonly addressOf: (hostId: string) => string | undefined;
  /** The key a host signs with, as a group or the installation knows it. */
  readonly keyOf: (group: string, hostId: string) => string | undefined;
}

export interface TransportCounters {
  sent: number;
  received: number;
  refused: number;
  unsent: number;
}

export class OwnershipTransport {
  readonly counters: TransportCounters = { sent: 0, received: 0, refused: 0, unsent: 0 };
  readonly #init: OwnershipTransportInit;
  readonly #handlers = new Map<string, Set<(message: OwnershipMessage) => void>>();
  readonly #seen = new Map<string, number>();
  readonly #broadcast = new WeakMap<object, { readonly bytes: Uint8Array; publishedAtMs: number }>();

  constructor(init: OwnershipTransportInit) {
    this.#init = init;
  }

  /**
   * Hears what others say of a group.
   *
   * @param ballots Votes and ballots too: for members and voters. Else certificates and answers to this host only.
   */
  listen(group: string, ballots: boolean, handler: (message: OwnershipMessage) => void): Subscription {
    const handlers = this.#handlers.get(group) ?? new Set();
    this.#handlers.set(group, handlers.add(handler));
    const subscriptions = [this.#init.bus.onOwnership('grants', group, (bytes) => this.receive(bytes))];
    if (ballots) subscriptions.push(this.#init.bus.onOwnership('ballots', group, (bytes) => this.receive(bytes)));
    return {
      stop: async () => {
        handlers.delete(handler);
        await Promise.all(subscriptions.map((one) => one.stop()));
      },
    };
  }

  /** A message as it came, by either path. Never throws on what others sent. */
  receive(bytes: Uint8Array): void {
    let message: OwnershipMessage;
    try {
      // Answers to probes come to the same socket; what they say the kernel has noted.
      if (isProbe(bytes)) return;
      const mark = markOf(bytes);
      if (this.#init.clock.now() - (this.#seen.get(mark) ?? Number.NEGATIVE_INFINITY) < COPY_MS) return;
      const { payload, signer } = openEnvelope(bytes, 'ownership');
      message = ownershipMessageCodec.decode(payload);
      if (message.from === this.#init.hostId || !this.#handlers.has(message.group)) return;
      if (message.to !== '' && message.to !== this.#init.hostId) return;
      const key = this.#init.keyOf(message.group, message.from);
      if (key !== signer) {
        this.#refuse(
          `message of group ${message.group} signed by ${signer}: host ${message.from} has ${key === undefined ? 'no key that is known' : 'another key'}`,
        );
        return;
      }
      this.#remember(mark);
    } catch (error) {
      if (!(error instanceof WeftError)) throw error;
      this.#refuse(error.message);
      return;
    }
    this.counters.received++;
    for (const handler of [...(this.#handlers.get(message.group) ?? [])]) handler(message);
  }

  /** Signs and sends on each of the paths. Losing it is allowed: who needs an answer asks again. */
  send(group: string, to: string, paths: readonly Path[], body: OwnershipBody): void {
    const shared = body.kind === 'certificate' ? body.value : body.kind === 'offer' ? body.value.consent : undefined;
    const known = shared === undefined ? undefined : this.#broadcast.get(shared);
    const bytes = known?.bytes ?? this.#sign({ group, from: this.#init.hostId, to: shared === undefined ? to : '', body });
    const broadcast = known ?? { bytes, publishedAtMs: Number.NEGATIVE_INFINITY };
    if (shared !== undefined) this.#broadcast.set(shared, broadcast);
    this.counters.sent++;
    if (paths.includes('nats')) this.#publish(group, to, bytes, shared === undefined ? undefined : broadcast);
    if (paths.includes('underlay')) this.#sendDatagram(to, bytes);
  }

  #publish(group: string, to: string, bytes: Uint8Array, broadcast: { publishedAtMs: number } | undefined): void {
    if (broadcast === undefined) {
      // Hosts hear only what is on `grants`; an answer to a host that asked is for it alone.
      for (const channel of this.#isNode(group, to) ? (['ballots'] as const) : (['grants'] as const)) {
        this.#init.bus.publishOwnership(channel, group, bytes);
      }
      return;
    }
    const now = this.#init.clock.now();
    if (now - broadcast.publishedAtMs < BROADCAST_MS) return;
    broadcast.publishedAtMs = now;
    this.#init.bus.publishOwnership('grants', group, bytes);
  }

  /** Members and voters of a group, told by who makes the drivers. */
  readonly #nodes = new Map<string, ReadonlySet<string>>();
  setNodes(group: string, hosts: ReadonlySet<string>): void {
    this.#nodes.set(group, hosts);
  }
  #isNode(group: string, host: string): boolean {
    return this.#nodes.get(group)?.has(host) === true;
  }

  #sendDatagram(to: string, bytes: Uint8Array): void {
    const address = this.#init.addressOf(to);
    if (address === undefined) {
      this.counters.unsent++;
      return;
    }
    this.#init.sendDatagram(address, bytes).then(
      (error) => {
        if (error === undefined) return;
        this.counters.unsent++;
        this.#init.logger.debug({ peer: to, reason: error.message }, 'ownership datagram not sent');
      },
      (error: unknown) => this.#init.logger.error({ peer: to, reason: messageOf(error) }, 'ownership datagram refused'),
    );
  }

  #sign(message: OwnershipMessage): Uint8Array {
    return signEnvelope(this.#init.identity, 'ownership', ownershipMessageCodec.encode(message));
  }

  #remember(mark: string): void {
    this.#seen.delete(mark);
    this.#seen.set(mark, this.#init.clock.now());
    if (this.#seen.size <= REMEMBERED) return;
    for (const oldest of this.#seen.keys()) {
      this.#seen.delete(oldest);
      break;
    }
  }

  #refuse(reason: string): void {
    this.counters.refused++;
    if (this.counters.refused < 10 || this.counters.refused % 1_000 === 0)
      this.#init.logger.warn({ reason, count: this.counters.refused }, 'ownership message refused');
  }
}

/** The whole of a short message, since the end alone (a signature) could stand under other bytes. */
function markOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}
