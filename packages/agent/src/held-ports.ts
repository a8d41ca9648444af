import type { LocalDevice } from '@weft/tables';
import type { OwnPort } from './state-store.ts';

/** A port of this host, as the process knows it. */
export interface Held extends OwnPort {
  /** The device the program is attached to; undefined while it is missing. */
  readonly attached: LocalDevice | undefined;
}

/** The ports of this host: what all work on them reads and writes, each step as a whole. */
export class HeldPorts {
  readonly #ports = new Map<string, Held>();
  readonly #onChange: () => void;
  /** Devices that a program is being attached to. */
  readonly attaching: Set<number> = new Set();

  /** @param onChange What is to be saved has changed. */
  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  get(portId: string): Held | undefined {
    return this.#ports.get(portId);
  }

  has(portId: string): boolean {
    return this.#ports.has(portId);
  }

  /** A copy: ports come and go meanwhile. */
  all(): Held[] {
    return [...this.#ports.values()];
  }

  put(held: Held): Held {
    this.#ports.set(held.portId, held);
    return held;
  }

  delete(portId: string): void {
    this.#ports.delete(portId);
  }

  become(held: Held, state: OwnPort['state'], generation: number = held.generation): void {
    const now = this.#ports.get(held.portId) ?? held;
    if (now.state === state && now.generation === generation) return;
    this.put({ ...now, state, generation });
    this.#onChange();
  }

  /** What is to be saved. */
  saved(): OwnPort[] {
    return this.all().map(({ attached: _, ...port }) => port);
  }

  /** True while the network has a port of this host, even one that is coming or going. */
  uses(rdid: string): boolean {
    for (const port of this.#ports.values()) if (port.routingDomainId === rdid && port.state !== 'leaving') return true;
    return false;
  }

  /** The port and device with that index. */
  byIfindex(ifindex: number): OwnPort | undefined {
    for (const port of this.#ports.values()) if (port.attached?.ifindex === ifindex) return port;
    return undefined;
  }

  /** Indexes of all devices that are, are about to be, or just were, a port's. */
  ifindexes(): Set<number> {
    return new Set([...this.attaching, ...this.all().flatMap((port) => port.attached?.ifindex ?? [])]);
  }
}
