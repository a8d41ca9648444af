import { type TableChange, type TableEntry, TargetKind } from '@weft/forwarding';
import { diff, diffing, isTarget, orderChanges, putOf, rowIdentity } from '@weft/tables';
import { Applier } from './applier.ts';
import type { AgentClock, AgentDatapath, AgentLogger } from './components.ts';
import type { Conditions } from './conditions.ts';
import { messageOf } from './errors.ts';
import { inPieces, inSlices, stepsInSlices } from './gateway/in-slices.ts';
import { backoffMs } from './limiter.ts';
import type { NetworkSession } from './network-session.ts';
import type { Networks } from './networks.ts';
import type { RoleDevices } from './role.ts';

const RECONCILE_MS = 300_000;
/** How long after the start a port's device may refuse to be taken up, before the rows that the last run left for it go. */
const UNTAKEN_MS = 30_000;

export interface TableKeeperComponents {
  readonly datapath: AgentDatapath;
  readonly clock: AgentClock;
  readonly random: () => number;
  readonly logger: AgentLogger;
  readonly conditions: Conditions;
  readonly networks: () => Networks;
  readonly devices: () => RoleDevices;
}

/** Keeps the packet path as the networks' rows want it: change by change, and now and then as a whole. */
export class TableKeeper {
  readonly #on: TableKeeperComponents;
  readonly #applier: Applier;
  readonly #startedMs: number;
  #timer: unknown;
  #attempt = 0;
  #lastMs = 0;
  /** Nothing goes to the packet path one by one: what was restored is compared with it as a whole. */
  #restoring = true;
  /** Everything this host is part of has been seen in the store since the start. */
  #complete = false;
  #stopped = false;
  /** What the packet path has, until all is complete: what a network's taking over is compared with, without reading all rows for each. */
  #present = new Map<string, TableEntry>();
  /** Rows that were written while all are being compared: what was read of them may be older. */
  #touched: Set<string> | undefined;
  #reconciling: Promise<void> | undefined;
  #again = false;

  constructor(components: TableKeeperComponents) {
    this.#on = components;
    this.#startedMs = components.clock.now();
    this.#applier = new Applier(components.datapath, components.conditions, () => this.#reconcileSoon());
  }

  get complete(): boolean {
    return this.#complete;
  }

  /** All that the last run left is restored. */
  async start(): Promise<void> {
    this.#restoring = false;
    await this.#reconcile();
  }

  stop(): void {
    this.#stopped = true;
    this.#on.clock.clearTimeout(this.#timer);
  }

  /** All networks have been read from the store: from here on what is not wanted goes. */
  async completed(): Promise<void> {
    this.#complete = true;
    this.#present = new Map();
    await this.#reconcile();
  }

  push(changes: readonly TableChange[]): void {
    if (this.#restoring) return;
    this.#note(changes);
    this.#applier.push(changes);
  }

  /** A network's rows are whole now. What of it in the packet path is stale goes when all networks are whole. */
  takeOver(session: NetworkSession): void {
    const wanted = [...session.view.entries()];
    const present = wanted.flatMap((row) => this.#present.get(rowIdentity(row)) ?? []);
    const puts = this.#complete ? orderChanges(wanted.map(putOf)) : diff(present, wanted);
    this.#note(puts);
    this.#applier.push(puts);
  }

  poll(): void {
    if (this.#complete && this.#on.clock.now() - this.#lastMs >= RECONCILE_MS) void this.#reconcile();
  }

  #note(changes: readonly TableChange[]): void {
    if (this.#complete && this.#touched === undefined) return;
    for (const change of changes) {
      const key = rowIdentity(change);
      this.#touched?.add(key);
      if (this.#complete) continue;
      if (change.op === 'put') this.#present.set(key, change);
      else this.#present.delete(key);
    }
  }

  *#wanted(): Generator<TableEntry> {
    for (const session of this.#on.networks().all()) if (session.coherent) yield* session.view.entries();
  }

  /**
   * Brings the packet path to what is wanted without flushing: before everything was seen in the store nothing is removed, and no newer
   * target gives way to an older one. Done bit by bit; calls while it goes on share the next.
   */
  #reconcile(): Promise<void> {
    this.#again = this.#reconciling !== undefined;
    this.#reconciling ??= this.#reconcileUntilQuiet();
    return this.#reconciling;
  }

  async #reconcileUntilQuiet(): Promise<void> {
    do {
      this.#again = false;
      await this.#reconcileOnce();
    } while (this.#again && !this.#stopped);
    this.#reconciling = undefined;
  }

  async #reconcileOnce(): Promise<void> {
    const { datapath, logger, clock, conditions } = this.#on;
    const now = clock.now();
    const touched = new Set<string>();
    this.#touched = touched;
    try {
      await inSlices(this.#on.networks().all(), (session) => session.tick());
      const current: TableEntry[] = [];
      await inSlices(datapath.rows(), (row) => {
        if (row.table !== 'shard') current.push(row);
      });
      if (this.#stopped) return;
      const isComplete = this.#complete;
      const notePresent = (row: TableEntry): void => {
        const key = rowIdentity(row);
        if (!touched.has(key)) this.#present.set(key, row);
      };
      if (!isComplete) await inSlices(current, notePresent);
      const untaken = isComplete && now - this.#startedMs < UNTAKEN_MS ? this.#on.devices().untaken : new Set<number>();
      const kept = untaken.size === 0 ? current : current.filter((entry) => !isOfDevice(entry, untaken));
      const changes = await stepsInSlices(diffing(kept, this.#wanted(), !isComplete));
      let removed = 0;
      let written = 0;
      await inPieces(changes, (some) => {
        if (this.#stopped) return;
        const own = some.filter((change) => !touched.has(rowIdentity(change)));
        if (own.length > 0) datapath.apply(own);
        this.#note(own);
        written += own.length;
        removed += own.filter((change) => change.op === 'delete').length;
      });
      if (this.#stopped) return;
      if (isComplete) {
        // Asked anew: a port may have come meanwhile.
        const { used } = this.#on.devices();
        for (const ifindex of datapath.attachedDevices()) if (!used.has(ifindex) && !untaken.has(ifindex)) datapath.detachDevice(ifindex);
      }
      if (untaken.size > 0) this.#reconcileSoon();
      else this.#attempt = 0;
      conditions.clear('DATAPATH_FAILED');
      if (written > 0) logger.info({ rows: current.length, changes: written, removed, complete: isComplete }, 'tables reconciled');
    } catch (error) {
      conditions.raise('DATAPATH_FAILED', `Cannot reconcile the packet path: ${messageOf(error)}; tried again`);
      this.#reconcileSoon();
    } finally {
      this.#touched = undefined;
    }
    this.#lastMs = now;
  }

  #reconcileSoon(): void {
    if (this.#stopped) return;
    const { clock, random } = this.#on;
    clock.clearTimeout(this.#timer);
    this.#timer = clock.setTimeout(() => void this.#reconcile(), backoffMs(this.#attempt++, 200, 30_000, random));
  }
}

/** The port row of a device, and the targets that lead to it. */
function isOfDevice(entry: TableEntry, ifindexes: ReadonlySet<number>): boolean {
  if (entry.table === 'port') return ifindexes.has(entry.key.ifindex);
  return isTarget(entry) && entry.value.kind === TargetKind.LOCAL && ifindexes.has(entry.value.ifindexOrShard);
}
