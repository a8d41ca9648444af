import { type TableChange, type TableEntry, TargetKind } from '@weft/forwarding';
import { diff, diffAdditive, isTarget, orderChanges, putOf } from '@weft/tables';
import { Applier } from './applier.ts';
import type { AgentClock, AgentDatapath, AgentLogger } from './components.ts';
import type { Conditions } from './conditions.ts';
import { messageOf } from './errors.ts';
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

  constructor(components: TableKeeperComponents) {
    this.#on = components;
    this.#startedMs = components.clock.now();
    this.#applier = new Applier(components.datapath, components.conditions, () => this.#reconcileSoon());
  }

  get complete(): boolean {
    return this.#complete;
  }

  /** All that the last run left is restored. */
  start(): void {
    this.#restoring = false;
    this.#reconcile();
  }

  stop(): void {
    this.#stopped = true;
    this.#on.clock.clearTimeout(this.#timer);
  }

  /** All networks have been read from the store: from here on what is not wanted goes. */
  completed(): void {
    this.#complete = true;
    this.#reconcile();
  }

  push(changes: readonly TableChange[]): void {
    if (!this.#restoring) this.#applier.push(changes);
  }

  /** A network's rows are whole now. What of it in the packet path is stale goes when all networks are whole. */
  takeOver(session: NetworkSession): void {
    const wanted = [...session.view.entries()];
    const puts = this.#complete
      ? orderChanges(wanted.map(putOf))
      : diff(this.#on.datapath.entries(), wanted).filter((change) => change.op === 'put');
    this.#applier.push(puts);
  }

  poll(): void {
    if (this.#complete && this.#on.clock.now() - this.#lastMs >= RECONCILE_MS) this.#reconcile();
  }

  #wanted(): TableEntry[] {
    return this.#on
      .networks()
      .all()
      .flatMap((session) => (session.coherent ? [...session.view.entries()] : []));
  }

  /**
   * Brings the packet path to what is wanted without flushing: before everything was seen in the store nothing is removed, and no newer
   * target gives way to an older one.
   */
  #reconcile(): void {
    const { datapath, logger, clock, conditions } = this.#on;
    const now = clock.now();
    try {
      for (const session of this.#on.networks().all()) session.tick();
      const current = datapath.entries().filter((entry) => entry.table !== 'shard');
      const devices = this.#on.devices();
      const untaken = this.#complete && now - this.#startedMs < UNTAKEN_MS ? devices.untaken : new Set<number>();
      const kept = untaken.size === 0 ? current : current.filter((entry) => !isOfDevice(entry, untaken));
      const changes: readonly TableChange[] = (this.#complete ? diff : diffAdditive)(kept, this.#wanted());
      if (changes.length > 0) datapath.apply(changes);
      if (this.#complete) {
        for (const ifindex of datapath.attachedDevices())
          if (!devices.used.has(ifindex) && !untaken.has(ifindex)) datapath.detachDevice(ifindex);
      }
      if (untaken.size > 0) this.#reconcileSoon();
      else this.#attempt = 0;
      conditions.clear('DATAPATH_FAILED');
      if (changes.length > 0) {
        const removed = changes.filter((change) => change.op === 'delete').length;
        logger.info({ rows: current.length, changes: changes.length, removed, complete: this.#complete }, 'tables reconciled');
      }
    } catch (error) {
      conditions.raise('DATAPATH_FAILED', `Cannot reconcile the packet path: ${messageOf(error)}; tried again`);
      this.#reconcileSoon();
    }
    this.#lastMs = now;
  }

  #reconcileSoon(): void {
    if (this.#stopped) return;
    const { clock, random } = this.#on;
    clock.clearTimeout(this.#timer);
    this.#timer = clock.setTimeout(() => this.#reconcile(), backoffMs(this.#attempt++, 200, 30_000, random));
  }
}

/** The port row of a device, and the targets that lead to it. */
function isOfDevice(entry: TableEntry, ifindexes: ReadonlySet<number>): boolean {
  if (entry.table === 'port') return ifindexes.has(entry.key.ifindex);
  return isTarget(entry) && entry.value.kind === TargetKind.LOCAL && ifindexes.has(entry.value.ifindexOrShard);
}
