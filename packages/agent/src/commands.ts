import type { BusState, HandlerResult, IncomingRequest } from '@weft/bus';
import { TargetKind } from '@weft/forwarding';
import type { GatewayStatusResult, Mapping, Problem, StatusResult, TrustStore } from '@weft/model';
import { formatIp, formatMac } from '@weft/packet';
import { compile, describeDifferences } from '@weft/tables';
import type { AgentClock, AgentDatapath, HostAgentInit } from './components.ts';
import type { Conditions } from './conditions.ts';
import { AgentError, problemOf } from './errors.ts';
import { gatewayStatus } from './gateway/gateway-status.ts';
import type { Gateways } from './gateway/gateways.ts';
import type { Networks } from './networks.ts';
import type { Role } from './role.ts';
import type { OwnPort } from './state-store.ts';

export interface CommandsComponents {
  readonly init: HostAgentInit;
  readonly trust: TrustStore;
  readonly datapath: AgentDatapath;
  readonly clock: AgentClock;
  readonly conditions: Conditions;
  readonly roles: readonly Role[];
  readonly networks: Networks;
  readonly gateways: Gateways;
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

  async run(incoming: Pick<IncomingRequest, 'request' | 'signer'>): Promise<HandlerResult> {
    try {
      for (const role of this.#on.roles) {
        const carriedOut = role.handle(incoming);
        if (carriedOut !== undefined) return { problems: [], ...(await carriedOut) };
      }
      return { problems: [], result: this.#answer(incoming) };
    } catch (error) {
      const problems: Problem[] = [problemOf(error)];
      return { problems, result: undefined };
    }
  }

  #answer({ request, signer }: Pick<IncomingRequest, 'request' | 'signer'>): HandlerResult['result'] {
    const { command } = request;
    switch (command.kind) {
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
      case 'gatewayStatus':
        this.#mayRead(signer);
        return { kind: 'gatewayStatus', value: this.#gatewayStatus(command.value.gatewayId) };
      default:
        throw new AgentError(
          'WEFT_ERR_AGENT_COMMAND',
          `Cannot carry out "${command.kind}" on host ${this.#on.init.hostId}: agents serve bind, prepare, unbind, status, drops, mappings, consistency and the gateway's status, gateways also what they map; ask a controller`,
          {
            value: command.kind,
          },
        );
    }
  }

  #mayRead(signer: string, rdid = ''): void {
    const tenant = this.#on.networks.get(rdid)?.view.network?.tenant ?? '';
    const refusal = this.#on.trust.mayAct(signer, tenant, 'read');
    if (refusal !== undefined) throw refusal;
  }

  #status(): StatusResult {
    const { init, clock, networks, roles, conditions } = this.#on;
    const { state, sinceMs } = this.#on.busState();
    const portStatus = roles.flatMap((role) => role.status().ports);
    let mappings = 0;
    for (const { view } of networks.all()) for (const binding of view.bindings()) if (binding.state === 'bound') mappings++;
    return {
      hostId: init.hostId,
      providerAddress: init.providerAddress,
      engine: init.engine,
      version: init.version,
      natsState: state,
      natsStateSinceMs: Math.max(0, Math.round(clock.unixMs() - sinceMs)),
      networks: networks.size,
      ports: portStatus.filter((port) => port.state !== 'leaving').length,
      mappings,
      conditions: conditions.list(),
      uptimeMs: Math.round(clock.now() - this.#on.startedMs),
      portStatus,
    };
  }

  #drops() {
    const { datapath, clock } = this.#on;
    const nowNs = BigInt(Math.round(clock.now() * 1e6));
    return datapath.drops().map((drop) => {
      const port = this.#portAt(drop.ifindex);
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

  #portAt(ifindex: number): OwnPort | undefined {
    for (const role of this.#on.roles) {
      const port = role.portAt(ifindex);
      if (port !== undefined) return port;
    }
    return undefined;
  }

  #mappings(rdid: string): Mapping[] {
    const mappings: Mapping[] = [];
    for (const session of this.#on.networks.all()) {
      if (rdid !== '' && session.rdid !== rdid) continue;
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
          device: value.kind === TargetKind.LOCAL ? (this.#portAt(value.ifindexOrShard)?.device ?? `#${value.ifindexOrShard}`) : '',
          generation: Number(value.generation),
        });
      }
    }
    return mappings;
  }

  /** Of a machine that forwards for no gateway: whom it obeys, and votes for. */
  #gatewayStatus(gatewayId: string): GatewayStatusResult {
    const { init, clock, conditions, gateways } = this.#on;
    return gatewayStatus({ hostId: init.hostId, nowMs: clock.now(), gateways, conditions }, gatewayId);
  }

  /** From zero = incremental = packet path. */
  #consistency() {
    const { networks, clock, datapath, init } = this.#on;
    const differences: string[] = [];
    const wanted = [];
    for (const session of networks.all()) {
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
