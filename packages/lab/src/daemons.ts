import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type LabNet, type ManagedProcess, waitFor } from '@weft/testkit';
import type { LabClient } from './client.ts';
import { type ControlPlane, seedFile } from './control-plane.ts';
import { LabError } from './errors.ts';
import { instanceName } from './instance-name.ts';
import type { LabSpec } from './lab-file.ts';

/** Of a daemon's log in an error. */
const LOG_LINES = 25;

export interface DaemonsInit {
  readonly weft: readonly string[];
  readonly keep: boolean;
  readonly logLevel?: string;
}

/** The lab's controllers and agents: `weft` processes, started and waited for. */
export class Daemons {
  readonly #net: LabNet;
  readonly #spec: LabSpec;
  readonly #plane: ControlPlane;
  readonly #client: LabClient;
  readonly #init: DaemonsInit;
  readonly #agents = new Map<string, ManagedProcess>();
  readonly #controllers: ManagedProcess[] = [];
  /** All that were started, those that ended among them. */
  readonly #started: { readonly what: string; readonly process: ManagedProcess }[] = [];

  constructor(net: LabNet, spec: LabSpec, plane: ControlPlane, client: LabClient, init: DaemonsInit) {
    this.#net = net;
    this.#spec = spec;
    this.#plane = plane;
    this.#client = client;
    this.#init = init;
  }

  /** As `--nats` takes them. */
  get natsUrls(): string {
    return this.#plane.natsServers.map((server) => server.url).join(',');
  }

  agent(host: string): ManagedProcess {
    const agent = this.#agents.get(host);
    if (agent === undefined) throw new RangeError(`No agent on host "${host}"`);
    return agent;
  }

  controller(number = 1): ManagedProcess {
    const controller = this.#controllers[number - 1];
    if (controller === undefined) throw new RangeError(`No controller ${number}`);
    return controller;
  }

  async startController(number: number): Promise<void> {
    const process = await this.#net.ctl.spawn(
      [
        ...[...this.#init.weft, 'controller', '--nats', this.natsUrls, '--replicas', String(this.#spec.natsServers)],
        ...['--identity', seedFile(this.#net, `controller${number}`), '--trust', this.#plane.admin.publicKey],
      ],
      { logName: `controller${number}`, what: `controller ${number}`, outlive: this.#init.keep, env: this.#environment() },
    );
    this.#controllers[number - 1] = process;
    this.#started.push({ what: `controller ${number}`, process });
    await this.#until(process, `controller ${number}`, async () => (await this.#client.list()).length >= 0);
  }

  /** Starts a host's agent (again) and waits until it answers. */
  async startAgent(host: string, options: { readonly wait?: boolean } = {}): Promise<void> {
    const at = this.#net.host(host);
    const spec = this.#spec.hosts.find((one) => one.name === host)!;
    const process = await at.spawn(
      [
        ...[...this.#init.weft, 'agent', '--nats', this.natsUrls, '--host-id', host],
        ...['--provider-address', at.address, '--underlay', at.underlayDevice, '--engine', spec.engine, '--roles', spec.roles.join(',')],
        ...['--identity', seedFile(this.#net, host), '--trust', this.#plane.admin.publicKey],
        ...['--instance', instanceName(this.#net.name, host), '--state-dir', join(at.dir, 'state')],
      ],
      { logName: 'agent', what: `agent of ${host}`, outlive: this.#init.keep, env: this.#environment() },
    );
    this.#agents.set(host, process);
    this.#started.push({ what: `agent of ${host}`, process });
    if (options.wait !== false) await this.untilAgentAnswers(host);
  }

  async untilAgentAnswers(host: string): Promise<void> {
    await this.#until(this.agent(host), `agent of ${host}`, async () => {
      await this.#plane.trust.refresh();
      return (await this.#client.ask(host, { kind: 'status', value: {} }, 'status', 1_000)).natsState === 'connected';
    });
  }

  /** Those that ended though nobody here told them to: how each did, and the end of its log. None once the lab is being removed, which ends them all. */
  deaths(): string[] {
    if (this.#net.registry.closed) return [];
    return this.#started
      .filter(({ process }) => !process.alive && !process.endAsked)
      .map(({ what, process }) => describeEnd(what, process));
  }

  /** Repeats `ready` until it is true; an error counts as "not yet" while the process lives. */
  async #until(process: ManagedProcess, what: string, ready: () => Promise<boolean>): Promise<void> {
    let last = '';
    const outcome = await waitFor(
      async () => {
        // Not thrown here: waitFor would take an error for "not yet" until its deadline.
        if (!process.alive) return 'ended';
        try {
          return (await ready()) && 'ready';
        } catch (error) {
          last = (error as Error).message;
          return false;
        }
      },
      { what: `the ${what} to answer`, deadlineMs: 30_000, intervalMs: 50, show: () => `${last}; end of its log:\n${logEnd(process)}` },
    );
    if (outcome !== 'ended') return;
    // /proc shows it a moment before Node tells how.
    await Promise.race([process.exited, sleep(1_000, undefined, { ref: false })]);
    throw new LabError('WEFT_ERR_LAB_START', describeEnd(what, process));
  }

  #environment(): Record<string, string> {
    return { WEFT_LOG_LEVEL: this.#init.logLevel ?? 'info' };
  }
}

/** "The agent of h1 ended (exit status 1); end of its log: …" */
function describeEnd(what: string, process: ManagedProcess): string {
  const { exit } = process;
  const how = exit === undefined ? '' : exit.signal === null ? ` (exit status ${exit.code})` : ` (${exit.signal})`;
  return `The ${what}, pid ${process.pid}, ended${how}; end of its log:\n${logEnd(process)}`;
}

function logEnd(process: ManagedProcess): string {
  try {
    return process.lastLines(LOG_LINES).join('\n');
  } catch (error) {
    // Gone with the lab's directory: what is told must not be lost for it.
    return `(no log: ${(error as Error).message})`;
  }
}
