import type { BusState, HandlerResult } from '@weft/bus';
import { TargetKind } from '@weft/forwarding';
import type { Mapping, Problem, Request, StatusResult, TrustStore } from '@weft/model';
import { formatIp, formatMac } from '@weft/packet';
import { compile, describeDifferences } from '@weft/tables';
import type { AgentClock, AgentDatapath, HostAgentInit } from './components.ts';
import type { Conditions } from './conditions.ts';
import { AgentError, problemOf } from './errors.ts';
import type { NetworkSession } from './network-session.ts';
import type { Author, Ports } from './ports.ts';

export interface CommandsComponents {
  readonly init: HostAgentInit;
  readonly trust: TrustStore;
  readonly datapath: AgentDatapath;
  readonly clock: AgentClock;
  readonly conditions: Conditions;
  readonly ports: Ports;
  readonly sessions: ReadonlyMap<string, NetworkSession>;
  readonly startedMs: number;
  readonly busState: () => BusState;
}

const KIND_NAMES: Readonly<Record<number, string>> = {
  [TargetKind.DENY]: 'deny',
  [TargetKind.LOCAL]: 'local',
  [TargetKind.PEER]: 'peer',
  [TargetKind.SHARD]: 'shard',
  [TargetKind.REDIRECT]: 'redirect',
};

/** The requests an agent serves: who may, what is done, what is answered. Failures are problems, never exceptions. */
export class Commands {
  readonly #on: CommandsComponents;

  constructor(components: CommandsComponents) {
    this.#on = components;
  }

  async run(request: Request, signer: string): Promise<HandlerResult> {
    try {
      return { problems: [], result: await this.#carryOut(request, signer) };
    } catch (error) {
      const problems: Problem[] = [problemOf(error)];
      return { problems, result: undefined };
    }
  }

  async #carryOut(request: Request, signer: string): Promise<HandlerResult['result']> {
    const { command } = request;
    const { ports } = this.#on;
    switch (command.kind) {
      case 'bindPort': {
        const author = this.#author(request, signer);
        await this.#mayWrite(signer, command.value.routingDomainId);
        return { kind: 'bindPort', value: await ports.bind(command.value, author) };
      }
      case 'preparePort':
        await this.#mayWrite(signer, command.value.routingDomainId);
        await ports.prepare(command.value);
        return undefined;
      case 'unbindPort': {
        const author = this.#author(request, signer);
        await this.#mayWrite(signer, command.value.routingDomainId);
        await ports.unbind(command.value, author);
        return undefined;
      }
      case 'status':
        this.#mayRead(signer);
        return { kind: 'status', value: this.#status() };
      case 'drops':
        this.#mayRead(signer);
        return { kind: 'drops', value: { hostId: this.#on.init.hostId, counters: this.#drops() } };
      case 'mappings':
        this.#mayRead(signer, command.value.routingDomainId);
        return { kind: 'mappings', value: { hostId: this.#on.init.hostId, mappings: this.#mappings(command.value.routingDomainId) } };
      case 'consistency':
        this.#mayRead(signer);
        return { kind: 'consistency', value: this.#consistency() };
      default:
        throw new AgentError(
          'WEFT_ERR_AGENT_COMMAND',
          `Cannot carry out "${command.kind}" on host ${this.#on.init.hostId}: agents serve bind, prepare, unbind, status, drops, mappings and consistency; ask a controller`,
          {
            value: command.kind,
          },
        );
    }
  }

  #author(request: Request, signer: string): Author {
    return { key: signer, name: this.#on.trust.principal(signer)?.name ?? '', requestId: request.requestId };
  }

  /** A network not followed yet is looked at by the command itself; then its tenant is known. */
  async #mayWrite(signer: string, rdid: string): Promise<void> {
    const { trust, ports } = this.#on;
    if (trust.mayAct(signer, '', 'write') === undefined) return;
    const tenant = await ports.tenantOf(rdid);
    const refusal = trust.mayAct(signer, tenant, 'write');
    if (refusal !== undefined) throw refusal;
  }

  #mayRead(signer: string, rdid = ''): void {
    const tenant = this.#on.sessions.get(rdid)?.view.network?.tenant ?? '';
    const refusal = this.#on.trust.mayAct(signer, tenant, 'read');
    if (refusal !== undefined) throw refusal;
  }

  #status(): StatusResult {
    const { init, clock, sessions, ports, conditions } = this.#on;
    const { state, sinceMs } = this.#on.busState();
    const portStatus = ports.status();
    let mappings = 0;
    for (const { view } of sessions.values()) for (const binding of view.bindings()) if (binding.state === 'bound') mappings++;
    return {
      hostId: init.hostId,
      providerAddress: init.providerAddress,
      engine: init.engine,
      version: init.version,
      natsState: state,
      natsStateSinceMs: Math.max(0, Math.round(clock.unixMs() - sinceMs)),
      networks: sessions.size,
      ports: portStatus.filter((port) => port.state !== 'leaving').length,
      mappings,
      conditions: conditions.list(),
      uptimeMs: Math.round(clock.now() - this.#on.startedMs),
      portStatus,
    };
  }

  #drops() {
    const { datapath, clock, ports } = this.#on;
    const nowNs = BigInt(Math.round(clock.now() * 1e6));
    return datapath.drops().map((drop) => {
      const port = ports.byIfindex(drop.ifindex);
      return {
        device: port?.device ?? (drop.ifindex === 0 ? '' : `#${drop.ifindex}`),
        portId: port?.portId ?? '',
        vsid: drop.vsid,
        reason: drop.reason,
        packets: Number(drop.packets),
        bytes: Number(drop.bytes),
        lastMsAgo: Math.max(0, Number((nowNs - drop.lastBootNs) / 1_000_000n)),
        sample: drop.sample,
      };
    });
  }

  #mappings(rdid: string): Mapping[] {
    const { sessions, ports } = this.#on;
    const mappings: Mapping[] = [];
    for (const [id, session] of sessions) {
      if (rdid !== '' && id !== rdid) continue;
      for (const entry of session.view.entries()) {
        if (entry.table !== 'lookup') continue;
        const { key, value } = entry;
        mappings.push({
          networkId: key.networkId,
          customerAddress: formatIp(key.ca),
          mac: formatMac(value.mac),
          vsid: value.vsid,
          kind: KIND_NAMES[value.kind] ?? String(value.kind),
          providerAddress: formatIp(value.pa),
          device: value.kind === TargetKind.LOCAL ? (ports.byIfindex(value.ifindexOrShard)?.device ?? `#${value.ifindexOrShard}`) : '',
          generation: Number(value.generation),
        });
      }
    }
    return mappings;
  }

  /** From zero = incremental = packet path. */
  #consistency() {
    const { sessions, clock, datapath, init } = this.#on;
    const differences: string[] = [];
    const wanted = [];
    for (const session of sessions.values()) {
      session.tick();
      const zero = compile(session.view.inputs(), clock.now());
      differences.push(...describeDifferences(zero, session.view.entries(), ['tables from zero', 'incremental tables']));
      wanted.push(...zero);
    }
    const actual = datapath.entries().filter((entry) => entry.table !== 'shard');
    differences.push(...describeDifferences(wanted, actual, ['tables from zero', 'datapath']));
    return { hostId: init.hostId, consistent: differences.length === 0, rows: actual.length, differences };
  }
}
