import type { Durable } from '../durable.ts';
import type { FenceRow } from '../fence.ts';
import type { OwnershipHost } from '../host.ts';
import type { HostInput, Input, ShardRow } from '../io.ts';
import type { OwnershipNode } from '../node.ts';
import type { Timing } from '../timing.ts';
import { SimClock } from './clock.ts';
import type { Random } from './random.ts';

/** A machine: its kernel (clock, pinned maps, packet path), its disk, and the agent's process on it. */
export interface Machine {
  readonly id: string;
  readonly kind: 'gateway' | 'host';
  readonly clock: SimClock;
  /** Counts boots. */
  life: number;
  power: boolean;
  /** The whole machine stands still. */
  frozen: boolean;
  /** The agent's process stands still; the packet path goes on. */
  stopped: boolean;
  /** Counts processes: what was meant for an earlier one is lost. */
  process: number;
  node: OwnershipNode | undefined;
  host: OwnershipHost | undefined;
  inbox: (Input | HostInput)[];
  disk: Durable | undefined;
  writing: { readonly token: number; readonly state: Durable } | undefined;
  diskMs: number;
  carrier: boolean;
  readonly fence: Map<number, FenceRow>;
  readonly shards: Map<number, ShardRow>;
  /** Per shard: own clock when it was replaced, and by which epoch. */
  readonly replaced: Map<number, { readonly epoch: bigint; readonly at: number }>;
  /** Its memory of promises, as its host record says it. 0: it has taken part in nothing yet. */
  instance: number;
}

/** A machine without power, whose clock differs from any other's by `rho` at most. */
export function makeMachine(id: string, kind: Machine['kind'], random: Random, { rho }: Pick<Timing, 'rho'>): Machine {
  return {
    id,
    kind,
    clock: new SimClock(0, 1 + random.between(-0.49, 0.49) * rho),
    life: 0,
    power: false,
    frozen: false,
    stopped: false,
    process: 0,
    node: undefined,
    host: undefined,
    inbox: [],
    disk: undefined,
    writing: undefined,
    diskMs: 2,
    carrier: true,
    fence: new Map(),
    shards: new Map(),
    replaced: new Map(),
    instance: 0,
  };
}

/** What its kernel forgets when it boots. */
export function forgetKernel(machine: Machine): void {
  machine.fence.clear();
  machine.shards.clear();
  machine.replaced.clear();
}

/** Whether an agent's process is there, standing still or not. */
export function hasAgent({ node, host }: Machine): boolean {
  return node !== undefined || host !== undefined;
}

/** Whether an agent's process is there and takes its turns. */
export function isRunning(machine: Machine): boolean {
  return hasAgent(machine) && !machine.stopped && !machine.frozen;
}
