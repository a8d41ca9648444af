import { readFileSync } from 'node:fs';
import { Lab, OwnershipWatcher, parseLabFile } from '@weft/lab';
import { dropReasonName, type VirtualNetwork } from '@weft/model';
import {
  type PingStream,
  ping,
  type SequenceSummary,
  startPingStream,
  startTcpStream,
  tcpEchoServe,
  uniqueName,
  waitFor,
} from '@weft/testkit';
import { expect } from 'vitest';
import { cacheDir, weft } from './support.ts';

/*
 *   coke-web ┐                           ┌─ g1 ─┐
 *            ├ h1 ══ underlay ═══════════┼─ g2 ─┼══ internet ── router ── 198.18.0.10
 *  pepsi-web ┘      └ w (votes only)     └ (g3)─┘
 *
 * NATS is on a network of its own, so that losing it and losing the underlay are two faults. Both VMs have the same address; each tenant is on a shard of
 * its own.
 */

export const SERVER = '198.18.0.10';
export const VM_ADDRESS = '10.0.1.10';
export const VM_MAC = '02:00:00:00:00:0a';
export const TENANTS = ['coke', 'pepsi'] as const;
export type Tenant = (typeof TENANTS)[number];

/** Between two requests of a probe: a loss of this much is seen. Below 10 ms ping waits by spinning, which starves what is tested. */
export const PROBE_MS = 10;
/** For what the benchmarks hold to 500 ms: a machine that is busy with tests is slower, but not by seconds. */
export const TAKEOVER_MS = 3_000;

/** The gateway's manifest. */
export function gatewayText(members: readonly string[], witness: string | undefined): string {
  return `apiVersion: weft/v1
kind: Gateway
metadata: { name: edge }
spec:
  members: [${members.map((host) => `{ host: ${host}, externalInterface: ext-internet }`).join(', ')}]
  witnesses: [${witness ?? ''}]
  shards: 2
  segments: [{ name: internet, onLink: [203.0.113.0/24], nextHops: [203.0.113.1] }]
  pools: [{ name: public, segment: internet, addresses: [203.0.113.16-203.0.113.23], shared: 4 }]
`;
}

function labText(gateways: readonly string[], witness: string | undefined, members: readonly string[]): string {
  const hosts = [
    ...gateways.map((name) => `{ name: ${name}, roles: [gateway] }`),
    ...['h1', ...(witness === undefined || gateways.includes(witness) ? [] : [witness])].map((name) => `{ name: ${name} }`),
  ];
  const documents = [
    `apiVersion: weft/v1
kind: Lab
spec:
  underlay: { managementNetwork: true }
  hosts: [${hosts.join(', ')}]
  externalNetworks: [{ name: internet, members: [${gateways.join(', ')}] }]
  vms: [${TENANTS.map((tenant) => `{ name: ${tenant}-web, host: h1, port: ${tenant}/shop/web }`).join(', ')}]
`,
    gatewayText(members, witness),
    ...TENANTS.flatMap((tenant) => [
      `apiVersion: weft/v1\nkind: Tenant\nmetadata: { name: ${tenant} }\n`,
      `apiVersion: weft/v1\nkind: VirtualNetwork\nmetadata: { name: shop, tenant: ${tenant} }\n`,
      `apiVersion: weft/v1\nkind: VirtualSubnet\nmetadata: { name: blue, tenant: ${tenant}, network: shop }\nspec: { prefixes: [10.0.1.0/24] }\n`,
      `apiVersion: weft/v1\nkind: Port\nmetadata: { name: web, tenant: ${tenant}, network: shop }\nspec: { subnet: blue, mac: '${VM_MAC}', addresses: [${VM_ADDRESS}] }\n`,
      `apiVersion: weft/v1\nkind: GatewayConnection\nmetadata: { name: out, tenant: ${tenant}, network: shop }\nspec: { gateway: edge, mode: nat, pool: public }\n`,
    ]),
  ];
  return documents.join('---\n');
}

/** A lab of gateways under continuous probes, and who owns what in it. */
export class GatewayLab {
  readonly lab: Lab;
  readonly watcher: OwnershipWatcher;
  readonly gateways: readonly string[];
  /** By tenant. */
  readonly networks: ReadonlyMap<string, VirtualNetwork>;
  readonly #probes: ReadonlyMap<Tenant, PingStream>;

  private constructor(parts: {
    lab: Lab;
    watcher: OwnershipWatcher;
    gateways: readonly string[];
    networks: ReadonlyMap<string, VirtualNetwork>;
    probes: ReadonlyMap<Tenant, PingStream>;
  }) {
    this.lab = parts.lab;
    this.watcher = parts.watcher;
    this.gateways = parts.gateways;
    this.networks = parts.networks;
    this.#probes = parts.probes;
  }

  /**
   * @param witness Left out: the gateways, three or more, vote alone.
   * @param members Of the group at first; left out: all gateways.
   */
  static async start(gateways: readonly string[], witness?: string, members: readonly string[] = gateways): Promise<GatewayLab> {
    const lab = await Lab.up(parseLabFile('gateways', labText(gateways, witness, members)), {
      name: uniqueName('t'),
      weft,
      keep: false,
      cacheDir,
    });
    const watcher = OwnershipWatcher.start(lab.net);
    const vms = TENANTS.map((tenant) => lab.vm(`${tenant}-web`));
    await waitFor(async () => (await Promise.all(vms.map((vm) => ping(vm, SERVER)))).every(({ received }) => received === 1), {
      what: 'each tenant to reach the server',
      deadlineMs: 60_000,
      intervalMs: 200,
      show: () => logs(lab),
    });
    await untilPlaced(lab, watcher);
    await watcher.untilAtRest();
    const probes = new Map<Tenant, PingStream>();
    for (const tenant of TENANTS) {
      const options = { intervalMs: PROBE_MS, registry: lab.net.registry };
      probes.set(tenant, await startPingStream(lab.vm(`${tenant}-web`).netns, SERVER, options));
    }
    const { records } = await lab.ask(
      'controller',
      { kind: 'list', value: { kinds: ['VirtualNetwork'], tenant: '', network: '', name: '' } },
      'list',
    );
    const networks = new Map(
      records.flatMap(({ record }) => (record?.kind === 'network' ? [[record.value.tenant, record.value] as const] : [])),
    );
    const group = new GatewayLab({ lab, watcher, gateways, networks, probes });
    // A first fault in the middle of the last planned move is another case: the former owner still passes on what comes late.
    await group.answered(50);
    return group;
  }

  shardOf(tenant: Tenant): number {
    return this.networks.get(tenant)!.gateway!.shard;
  }

  /** The gateway that serves a tenant now. */
  ownerOf(tenant: Tenant): string {
    const owner = this.watcher.owner(this.shardOf(tenant));
    if (owner === undefined) throw new Error(`Nobody serves ${tenant}: ${logs(this.lab)}`);
    return owner;
  }

  /** Whom a fault of `host` concerns, and whom not. */
  tenantsOf(host: string): readonly Tenant[] {
    return TENANTS.filter((tenant) => this.ownerOf(tenant) === host);
  }

  /** Waits until each tenant's probe, or one's, has had `count` answers more. */
  async answered(count: number, options: { readonly tenants?: readonly Tenant[]; readonly deadlineMs?: number } = {}): Promise<void> {
    const { tenants = TENANTS, deadlineMs = 30_000 } = options;
    await Promise.all(tenants.map((tenant) => this.#probes.get(tenant)!.answered(count, deadlineMs)));
  }

  /** What the probes have seen since the last call. */
  async window(): Promise<ReadonlyMap<Tenant, SequenceSummary>> {
    const windows = new Map<Tenant, SequenceSummary>();
    for (const [tenant, probe] of this.#probes) windows.set(tenant, await probe.takeWindow(10_000));
    return windows;
  }

  /** How many shards move while `work` goes on. */
  async movesDuring(work: () => Promise<void>): Promise<number> {
    const before = this.watcher.moves.length;
    await work();
    return this.watcher.moves.length - before;
  }

  /** Since the last look at the probes. */
  async expectNothingLost(): Promise<void> {
    for (const [tenant, { lost, sent }] of await this.window()) {
      expect(lost, `${tenant} of ${sent}`).toBe(0);
      expect(sent).toBeGreaterThan(0);
    }
  }

  /** The tenants of who failed waited no longer than `boundMs`; the others for nothing. */
  async expectOnlyTheseWaited(tenants: readonly Tenant[], boundMs: number): Promise<void> {
    for (const [tenant, { lost, longestGapMs }] of await this.window()) {
      if (tenants.includes(tenant)) expect(longestGapMs, tenant).toBeLessThan(boundMs);
      else expect(lost, tenant).toBe(0);
    }
  }

  /** Whatever the case has done: one owner a shard at its end, and no promise broken since the lab began. */
  async afterCase(failed: boolean): Promise<void> {
    if (failed) console.error(this.story());
    await this.watcher.untilAtRest();
    expect(this.watcher.faults).toEqual([]);
  }

  /** Messages of what a host complains of now. */
  async conditions(host: string): Promise<readonly string[]> {
    const { conditions } = await this.lab.ask(host, { kind: 'status', value: {} }, 'status');
    return conditions.map(({ code, message }) => `${code}: ${message}`);
  }

  /** Frames that a host has dropped for a reason. */
  async drops(host: string, reason: string): Promise<number> {
    const { counters } = await this.lab.ask(host, { kind: 'drops', value: {} }, 'drops');
    return counters.filter((one) => dropReasonName(one.reason) === reason).reduce((sum, { packets }) => sum + Number(packets), 0);
  }

  /** What a failed case needs to be understood: who had what, when it moved, and what the agents say. */
  story(): string {
    const { moves, overlapMs, faults } = this.watcher;
    const time = (ms: number): string => `${((ms - this.watcher.now()) / 1_000).toFixed(2)} s`;
    return [
      ...TENANTS.map((tenant) => `${tenant} is on shard ${this.shardOf(tenant)}, owned by ${this.watcher.owner(this.shardOf(tenant))}`),
      ...moves.map(({ shard, from, to, epoch, atMs }) => `${time(atMs)}: shard ${shard} from ${from} to ${to}, epoch ${epoch}`),
      ...this.watcher
        .sample()
        .fences.map(({ host, shard, epoch, deadlineMs }) => `${host}: shard ${shard}, epoch ${epoch}, open until ${time(deadlineMs)}`),
      `two open for ${overlapMs.toFixed(0)} ms in all; faults: ${faults.join('; ') || 'none'}`,
      logs(this.lab),
    ].join('\n');
  }

  async stop(): Promise<void> {
    this.watcher.stop();
    for (const probe of this.#probes.values()) await probe.stop(0).catch(() => {});
  }
}

/** Long connections of each tenant to the server outside, that count what comes back. */
export async function startConnections(lab: Lab, count: number): Promise<{ expectNoneBroken(): Promise<void> }> {
  const echo = await tcpEchoServe(await lab.net.worker(lab.externalNetwork('internet').outside), { host: SERVER, port: 7007 });
  const streams = await Promise.all(
    TENANTS.map(async (tenant) => {
      const worker = await lab.net.worker(lab.vm(`${tenant}-web`).netns);
      return startTcpStream(worker, { host: SERVER, port: 7007, connections: count, intervalMs: 10 });
    }),
  );
  return {
    async expectNoneBroken() {
      for (const stream of streams) {
        const { echoed } = await stream.read();
        await waitFor(async () => (await stream.read()).echoed > echoed + 10 * count, {
          what: 'connections that talk on',
          deadlineMs: 20_000,
        });
        expect(await stream.stop()).toMatchObject({ broken: [], corrupt: 0 });
      }
      await echo.close();
    },
  };
}

/** Waits until each shard is where the record places it: what the first member to start took for itself it hands over to the others, and that is no fault's doing. */
export async function untilPlaced(lab: Lab, watcher: OwnershipWatcher): Promise<void> {
  const { records } = await lab.ask(
    'controller',
    { kind: 'list', value: { kinds: ['Assignment'], tenant: '', network: '', name: '' } },
    'list',
  );
  const [assignment] = records.flatMap(({ record }) => (record?.kind === 'assignment' ? [record.value] : []));
  const first = assignment!.shards.map(({ id, order }) => ({
    shard: id,
    host: assignment!.members.find(({ member }) => member === order[0])!.hostId,
  }));
  await waitFor(() => first.every(({ shard, host }) => watcher.owner(shard) === host), {
    what: `shards to be where they belong: ${first.map(({ shard, host }) => `${shard} at ${host}`).join(', ')}`,
    deadlineMs: 60_000,
    intervalMs: 50,
    show: () => logs(lab),
  });
}

/** The end of each agent's log. */
export function logs(lab: Lab): string {
  return [...lab.net.hosts.values()]
    .map(({ name, dir }) => `${name}: ${readFileSync(`${dir}/agent.log`, 'utf8').split('\n').slice(-8).join('\n')}`)
    .join('\n');
}
