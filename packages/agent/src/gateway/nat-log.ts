import { type Identity, type Store, signEnvelope } from '@weft/bus';
import {
  isLogged,
  type NatEvent,
  type NatEventBatch,
  type NatKey,
  type NatLogContext,
  type NatStore,
  natLogInterim,
  natLogRecord,
} from '@weft/forwarding';
import { type NatLogRecord, natLogRecordCodec, subjects } from '@weft/model';
import { formatIp, parseIp } from '@weft/packet';
import type { AgentClock, AgentLogger } from '../components.ts';
import type { Conditions } from '../conditions.ts';
import { inSlices, type SliceClock } from './in-slices.ts';
import type { NatListener } from './nat-feed.ts';
import type { NatLogSpool } from './nat-log-spool.ts';

// The NAT log as a member writes it: a record of each block that its packet path grants or gets back, by the events of the packet path.
//
//   NatFeed ──► NatLog ──► spool (memory and file) ──► stream NATLOG
//     what is held, told again: at start, after lost events, at a takeover, when the clock was stepped, once a day
//
// What a standby is told of the owner's blocks comes by no event, so each grant is told by who made it; whoever takes over tells it again, in case the
// other died before.

/** The clock was stepped by more than this, or it is read with that error. */
const STEP_MS = 500;
/** Long before the stream forgets the grant of a block that is still held. */
const RETELL_MS = 24 * 3_600_000;
/** Appended at once. */
const BATCH = 64;
/** What is told again waits in memory while so many others wait: it is not to take their room. */
const RETELL_WAITING = 1_000;
/** Undelivered for longer is worth saying. */
const LATE_MS = 60_000;

export interface NatLogInit {
  readonly hostId: string;
  readonly identity: Identity;
  readonly clock: AgentClock;
  readonly logger: AgentLogger;
  readonly conditions: Pick<Conditions, 'raise' | 'clear'>;
  readonly spool: Pick<NatLogSpool, 'start' | 'add' | 'size' | 'first' | 'delivered' | 'stop'>;
  readonly store: Pick<NatStore, 'get' | 'rows'>;
  /** Shards that are owned here now; asked every second. */
  readonly shards: () => ReadonlySet<number>;
  /** Numbers of the networks on them. */
  readonly networks: () => ReadonlySet<number> | Promise<ReadonlySet<number>>;
  /** Gateway id that an external address belongs to; empty: not known. */
  readonly groupOf: (segment: number, address: string) => string;
  readonly slices?: SliceClock;
}

/** One grant, as long as it is held. */
interface Held {
  readonly key: NatKey<'block'>;
  readonly record: NatLogRecord;
}

export class NatLog implements NatListener {
  readonly #init: NatLogInit;
  /** By block: those of owned networks that were told and not given back. */
  readonly #held = new Map<string, Held>();
  #shards: ReadonlySet<number> = new Set();
  #bootUnixMs: number;
  #toldAllMs = Number.NEGATIVE_INFINITY;
  #tellAll = true;
  #telling: Promise<void> | undefined;
  /** To be told again. */
  readonly #again: { readonly name: string; readonly record: NatLogRecord }[] = [];
  #log: Store['natLog'] | undefined;
  #sending: Promise<void> | undefined;
  #emptyMs: number;
  #lost = 0;
  #stopped = false;

  constructor(init: NatLogInit) {
    this.#init = init;
    this.#bootUnixMs = this.#offset();
    this.#emptyMs = init.clock.now();
  }

  async start(): Promise<void> {
    const unread = await this.#init.spool.start();
    if (unread > 0)
      this.#init.logger.warn(
        { bytes: unread },
        'the NAT log that waited ends in what is no record; it is left out, what is held is told again',
      );
  }

  /** The store of the present connection. */
  setStore(store: Pick<Store, 'natLog'>): void {
    this.#log = store.natLog;
    this.#send();
  }

  onEvents(batch: NatEventBatch): void {
    for (let i = 0; i < batch.count; i++) if (isLogged(batch.kindAt(i))) this.#onEvent(batch.eventAt(i));
  }

  #onEvent(event: NatEvent): void {
    const record = natLogRecord(event, this.#context(event));
    if (record === undefined || !('block' in event)) return;
    const name = nameOf(event.key);
    if (record.kind === 'granted') this.#held.set(name, { key: event.key, record });
    else this.#held.delete(name);
    this.#tell(record);
  }

  onLost(): void {
    this.#tellAll = true;
  }

  /** Once a second. */
  poll(): void {
    const { clock, spool, conditions } = this.#init;
    const offset = this.#offset();
    if (Math.abs(offset - this.#bootUnixMs) > STEP_MS) {
      this.#init.logger.warn({ ms: Math.round(offset - this.#bootUnixMs) }, 'the clock was stepped: who holds ports is told again');
      this.#bootUnixMs = offset;
      this.#tellAll = true;
    }
    const shards = this.#init.shards();
    if (shards.size !== this.#shards.size || [...shards].some((id) => !this.#shards.has(id))) {
      // What another member owns meanwhile it gives back, and tells so.
      this.#held.clear();
      this.#tellAll = true;
    }
    this.#shards = shards;
    if (clock.now() - this.#toldAllMs >= RETELL_MS) this.#tellAll = true;
    if (this.#tellAll && this.#telling === undefined && shards.size > 0 && spool.size < RETELL_WAITING) {
      this.#tellAll = false;
      this.#toldAllMs = clock.now();
      this.#telling = this.#tellHeld()
        .catch((error: unknown) => {
          this.#tellAll = true;
          this.#init.logger.warn({ reason: (error as Error).message }, 'who holds ports can not be told again; tried again');
        })
        .finally(() => {
          this.#telling = undefined;
          this.#feed();
          this.#send();
        });
    }
    this.#feed();
    this.#send();
    if (spool.size === 0) {
      this.#emptyMs = clock.now();
      conditions.clear('NAT_LOG_BEHIND');
    } else if (clock.now() - this.#emptyMs > LATE_MS) {
      conditions.raise('NAT_LOG_BEHIND', `${spool.size} records of the NAT log wait for NATS; they are kept in the state directory`);
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#telling;
    await this.#sending;
    await this.#init.spool.stop();
  }

  /** Everything that is held of owned networks, and the end of what is not held any more though nobody said so. */
  async #tellHeld(): Promise<void> {
    const { store, slices, clock } = this.#init;
    const owned = await this.#init.networks();
    const before = [...this.#held];
    const present = new Set<string>();
    this.#again.length = 0;
    await inSlices(
      store.rows('block'),
      ({ key, value }) => {
        if (this.#stopped || !owned.has(value.networkId)) return;
        const name = nameOf(key);
        present.add(name);
        const record = natLogInterim(key, value, this.#context({ key }));
        this.#held.set(name, { key, record });
        this.#again.push({ name, record });
      },
      slices,
    );
    for (const [name, { key, record }] of before) {
      if (this.#stopped || present.has(name) || this.#held.get(name)?.record !== record) continue;
      // It may have been granted anew while the table was read.
      const now = store.get('block', key);
      if (now !== undefined && now.version === record.version && now.epoch === record.epoch) continue;
      this.#held.delete(name);
      this.#tell({ ...record, kind: 'released', timeUnixMs: Math.round(clock.unixMs()), isInterim: true });
    }
  }

  /** Tells again as much as there is room for; of what was given back meanwhile nothing. */
  #feed(): void {
    const { spool } = this.#init;
    while (this.#again.length > 0 && spool.size < RETELL_WAITING) {
      const { name, record } = this.#again.at(-1)!;
      if (this.#held.get(name)?.record === record && !spool.add(natLogRecordCodec.encode(record))) return;
      this.#again.pop();
    }
  }

  #tell(record: NatLogRecord): void {
    if (!this.#init.spool.add(natLogRecordCodec.encode(record))) {
      this.#lost++;
      // What is still held by then is told again.
      this.#tellAll = true;
      this.#init.conditions.raise(
        'NAT_LOG_LOST',
        `${this.#lost} records of the NAT log found no room while NATS was away: for the time from the first of them until now it may not be known who had a port`,
      );
      return;
    }
    this.#send();
  }

  #send(): void {
    if (this.#sending !== undefined || this.#log === undefined || this.#stopped || this.#init.spool.size === 0) return;
    this.#sending = this.#sendAll(this.#log)
      .catch((error: unknown) => this.#init.logger.info({ reason: (error as Error).message }, 'the NAT log waits for NATS'))
      .finally(() => {
        this.#sending = undefined;
      });
  }

  async #sendAll(log: Store['natLog']): Promise<void> {
    const { spool, identity } = this.#init;
    while (spool.size > 0 && !this.#stopped) {
      const batch = spool.first(BATCH);
      const results = await Promise.allSettled(
        batch.map(async (bytes) => {
          const record = natLogRecordCodec.decode(bytes);
          await log.append(
            subjects.natLog(record.segment, record.address, record.firstPort),
            idOf(record),
            signEnvelope(identity, 'natLog', bytes),
          );
        }),
      );
      const failed = results.find((result) => result.status === 'rejected');
      // All of it again: what stands there already is dropped by its id.
      if (failed !== undefined) throw failed.reason;
      spool.delivered(batch.length);
      this.#feed();
    }
  }

  #context({ key }: { readonly key: object }): NatLogContext {
    const { hostId, groupOf } = this.#init;
    const { segment, address } = key as NatKey<'block'>;
    return { group: address === undefined ? '' : groupOf(segment, formatIp(address)), member: hostId, bootUnixMs: this.#bootUnixMs };
  }

  #offset(): number {
    return this.#init.clock.unixMs() - this.#init.clock.now();
  }
}

function nameOf({ segment, address, block }: NatKey<'block'>): string {
  return `${segment}/${Buffer.from(address).toString('hex')}/${block}`;
}

/** The same for the same telling, so that it stands once though it is sent twice. Times worked out anew differ by some milliseconds. */
export function idOf(record: NatLogRecord): string {
  const { member, epoch, segment, address, firstPort, version, kind, isInterim, timeUnixMs } = record;
  const about = `${segment}.${Buffer.from(parseIp(address)).toString('hex')}.${firstPort}.${epoch}.${version}.${kind}`;
  return isInterim ? `${about}.${member}.${Math.round(timeUnixMs / 1_000)}` : about;
}
