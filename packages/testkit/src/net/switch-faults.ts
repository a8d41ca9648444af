import { run } from '../core/run.ts';
import { ipBatch } from './ip.ts';

/** Faults of one host's link to the switch. Absent means none. */
interface Fault {
  /** Frames are dropped in both directions while the link stays up. */
  readonly silent?: boolean;
  /** Share of frames dropped at random, in each direction. */
  readonly lossPercent?: number;
}

const TABLE = 'weft-faults';

/**
 * Faults in one of a lab's switched networks (the underlay, an external network), made at the switch so that no program on a host can see or
 * undo them.
 *
 * Delay and reordering are left out: they need a queueing discipline (netem) that many kernels are built without.
 */
export class SwitchFaults {
  readonly #switchNetns: string | undefined;
  readonly #ports: ReadonlyMap<string, string>;
  readonly #hosts: readonly { readonly name: string; readonly netns: string }[];
  readonly #device: string;
  readonly #faults = new Map<string, Fault>();
  /** Ways that are closed, as "from to". */
  readonly #blocked = new Set<string>();

  /**
   * @internal Made by `createLabNet` and `createExternalNetwork`.
   * @param device Name of the hosts' devices towards the switch.
   */
  constructor(
    switchNetns: string | undefined,
    ports: ReadonlyMap<string, string>,
    hosts: readonly { readonly name: string; readonly netns: string }[],
    device = 'underlay0',
  ) {
    this.#switchNetns = switchNetns;
    this.#ports = ports;
    this.#hosts = hosts;
    this.#device = device;
  }

  /** Pulls the host's cable: its device loses the carrier. */
  async unplug(host: string): Promise<void> {
    await this.#setLink(host, 'down');
  }

  async plug(host: string): Promise<void> {
    await this.#setLink(host, 'up');
  }

  /** Drops every frame from and to the host, while the link stays up: the fault that nobody is told about. Not in a direct lab. */
  async cut(host: string): Promise<void> {
    await this.#setFault(host, { silent: true });
  }

  /** Drops what goes from one host to another, while the other way and everybody else stay as they are: a one-way partition. Not in a direct lab. */
  async block(from: string, to: string): Promise<void> {
    this.#port(to);
    await this.#change(from, () => this.#blocked.add(`${from} ${to}`));
  }

  /** A full partition between two hosts: both ways closed. Not in a direct lab. */
  async separate(one: string, other: string): Promise<void> {
    this.#port(other);
    await this.#change(one, () => this.#blocked.add(`${one} ${other}`).add(`${other} ${one}`));
  }

  /** Ends `block` and `separate` between the two, both ways. */
  async join(one: string, other: string): Promise<void> {
    await this.#change(one, () => {
      this.#blocked.delete(`${one} ${other}`);
      this.#blocked.delete(`${other} ${one}`);
    });
  }

  /** Ends `cut` and `lose` for the host. */
  async restore(host: string): Promise<void> {
    await this.#setFault(host, undefined);
  }

  /**
   * Drops a share of the frames from and to the host at random. Not in a direct lab.
   *
   * @param percent Whole number 0 to 100, for each direction: a ping through it is lost with 1 - (1 - p)^2.
   */
  async lose(host: string, percent: number): Promise<void> {
    if (!Number.isInteger(percent) || percent < 0 || percent > 100)
      throw new RangeError(`Cannot lose ${percent} %: must be a whole number 0 to 100`);
    await this.#setFault(host, percent === 0 ? undefined : { lossPercent: percent });
  }

  #port(host: string): string {
    const port = this.#ports.get(host);
    if (port === undefined) throw new RangeError(`No host "${host}" on this network: there are ${[...this.#ports.keys()].join(', ')}`);
    return port;
  }

  async #setLink(host: string, state: 'up' | 'down'): Promise<void> {
    const port = this.#port(host);
    if (this.#switchNetns !== undefined) {
      await ipBatch([['link', 'set', port, state]], this.#switchNetns);
      return;
    }
    // Without a switch the other end of the host's cable is the other host.
    const other = this.#hosts.find((candidate) => candidate.name !== host)!;
    await ipBatch([['link', 'set', this.#device, state]], other.netns);
  }

  async #setFault(host: string, fault: Fault | undefined): Promise<void> {
    await this.#change(host, () => {
      if (fault === undefined) this.#faults.delete(host);
      else this.#faults.set(host, fault);
    });
  }

  async #change(host: string, change: () => void): Promise<void> {
    this.#port(host);
    if (this.#switchNetns === undefined)
      throw new RangeError(`Cannot drop frames of host "${host}": a direct lab has no switch to drop them in`);
    change();
    // One transaction replaces all rules, so no frame sees a mixture. Declared first, since deleting an absent table is an error.
    const rules = [...this.#faults].flatMap(([name, one]) => {
      const match = one.silent === true ? '' : `numgen random mod 100 < ${one.lossPercent} `;
      return ['iifname', 'oifname'].map((side) => `${side} "${this.#port(name)}" ${match}counter drop`);
    });
    for (const way of this.#blocked) {
      const [from, to] = way.split(' ') as [string, string];
      rules.push(`iifname "${this.#port(from)}" oifname "${this.#port(to)}" counter drop`);
    }
    const chain = ['chain forward {', 'type filter hook forward priority 0', ...rules, '}'];
    const input = [`table bridge ${TABLE}`, `delete table bridge ${TABLE}`, `table bridge ${TABLE} {`, ...chain, '}', ''];
    await run('nft', ['-f', '-'], { netns: this.#switchNetns, input: input.join('\n') });
  }
}
