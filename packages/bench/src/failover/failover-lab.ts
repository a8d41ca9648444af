import { gatewayMac } from '@weft/forwarding';
import { Lab, OwnershipWatcher, parseLabFile } from '@weft/lab';
import { waitFor } from '@weft/testkit';
import { inNetns, startUdpEcho, type TapDevice } from '@weft/tuntap';
import { CACHE_DIR, type ControlLab, controlLab, type LabPort, labPort, WEFT_COMMAND } from '../control/control-lab.ts';
import { holdTap } from '../control/held-tap.ts';
import type { BenchContext } from '../core/context.ts';

/*
 *   h1: VM with a TAP (held here), VM with a TCP stack ═══╦═══ g1 ───┐
 *                                                         ╠═══ g2 ───┴─── internet: router and server
 *                                                         ╚═══ w1, the witness
 */

export const GATEWAYS = ['g1', 'g2'] as const;
export const WITNESS = 'w1';
export const HOST = 'h1';
export const SERVER = '198.18.0.10';
export const ECHO_PORT = 7_777;
/** The VM whose frames are made here, and the one that has a TCP stack. */
export const PROBER: LabPort = labPort(0);
export const STREAMER: LabPort = labPort(1);
/** The shard of the measured network. */
export const SHARD_COUNT = 1;

/** Of each agent's log, in an error. */
const LOG_LINES = 20;

export interface FailoverLabInit {
  readonly suffix: string;
  readonly natsServers?: 1 | 3;
  /** Networks on the gateway group, the measured one among them. Default 1. */
  readonly networks?: number;
}

export interface FailoverLab {
  readonly lab: Lab;
  readonly control: ControlLab;
  readonly watcher: OwnershipWatcher;
  /** Of the measured network. */
  readonly shard: number;
  readonly tap: TapDevice;
  /** MAC address of the subnet's default gateway. */
  readonly gateway: Uint8Array;
  /** Whether flows are carried over to the standby: asked of the owner at the start. */
  readonly isProtecting: boolean;
}

const text = (init: FailoverLabInit): string =>
  [
    ...['apiVersion: weft/v1', 'kind: Lab', 'spec:'],
    `  nats: { servers: ${init.natsServers ?? 1} }`,
    '  hosts:',
    ...GATEWAYS.map((name) => `    - { name: ${name}, roles: [gateway] }`),
    `    - { name: ${WITNESS} }`,
    `    - { name: ${HOST} }`,
    '  externalNetworks:',
    `    - { name: internet, members: [${GATEWAYS.join(', ')}] }`,
    '  vms:',
    `    - { name: ${STREAMER.name}, host: ${HOST}, port: acme/net/${STREAMER.name} }`,
    ...['---', 'apiVersion: weft/v1', 'kind: Gateway', 'metadata: { name: edge }', 'spec:'],
    `  members: [${GATEWAYS.map((host) => `{ host: ${host}, externalInterface: ext-internet }`).join(', ')}]`,
    `  witnesses: [${WITNESS}]`,
    `  shards: ${SHARD_COUNT}`,
    '  segments: [{ name: internet, onLink: [203.0.113.0/24], nextHops: [203.0.113.1] }]',
    '  pools: [{ name: public, segment: internet, addresses: [203.0.113.16-203.0.113.23], shared: 4 }]',
    ...['---', 'apiVersion: weft/v1', 'kind: Tenant', 'metadata: { name: acme }'],
    ...network('net', [PROBER, STREAMER]),
    '',
  ].join('\n');

/** A network with its connection to the gateway, as manifests. */
export function network(name: string, ports: readonly LabPort[]): string[] {
  const head = (kind: string, own: string): string[] => [
    ...[
      '---',
      'apiVersion: weft/v1',
      `kind: ${kind}`,
      `metadata: { name: ${own}, tenant: acme${kind === 'VirtualNetwork' ? '' : `, network: ${name}`} }`,
    ],
  ];
  return [
    ...head('VirtualNetwork', name),
    ...head('VirtualSubnet', 'blue'),
    "spec: { prefixes: ['10.0.0.0/16'] }",
    ...ports.flatMap((port) => [...head('Port', port.name), `spec: { subnet: blue, mac: '${port.mac}', addresses: ['${port.address}'] }`]),
    ...head('GatewayConnection', 'out'),
    'spec: { gateway: edge, mode: nat, pool: public }',
  ];
}

/** Removed when `work` is done, or when the bench is interrupted. */
export async function withFailoverLab<T>(
  context: BenchContext,
  init: FailoverLabInit,
  work: (made: FailoverLab) => Promise<T>,
  prepare: (lab: Lab) => Promise<void> = async () => {},
): Promise<T> {
  const progress = (what: string): void => context.progress(`${init.suffix}: ${what}`);
  const lab = await Lab.up(parseLabFile('bench', text(init)), {
    name: context.name(init.suffix),
    weft: WEFT_COMMAND,
    keep: false,
    cacheDir: CACHE_DIR,
    progress,
    logLevel: 'info',
  });
  let watcher: OwnershipWatcher | undefined;
  let tap: TapDevice | undefined;
  let echo: { stop(): Promise<unknown> } | undefined;
  try {
    await prepare(lab);
    const control = await controlLab(lab);
    await control.bind(PROBER, HOST, 'prober');
    tap = holdTap(lab.host(HOST), 'prober');
    echo = inNetns(`/run/netns/${lab.externalNetwork('internet').outside.netns}`, () => startUdpEcho({ address: SERVER, port: ECHO_PORT }));
    // Rebuilding the tables of ten thousand networks from zero takes an agent seconds: that is no failure of a gateway.
    if (init.networks === undefined) await lab.untilConsistent(60_000);
    watcher = OwnershipWatcher.start(lab.net);
    await watcher.untilAtRest(60_000);
    const shard = watcher.sample().accepted[0]!.shard;
    await untilPlaced(lab, watcher, shard);
    progress('the standby');
    const isProtecting = await untilProtected({ lab, watcher, shard }, 10_000).then(
      () => true,
      () => false,
    );
    return await work({ lab, control, watcher, shard, tap, gateway: gatewayMac(control.vsid), isProtecting });
  } catch (error) {
    const rows = (watcher?.sample().accepted ?? []).map(({ host, owner, epoch }) => `${host} obeys ${owner} with epoch ${epoch}`);
    const logs = [...GATEWAYS, WITNESS].map((host) => `${host}: ${lab.agent(host).lastLines(LOG_LINES).join('\n')}`);
    (error as Error).message += `\n${[...lab.deaths(), ...rows, ...logs].join('\n')}`;
    throw error;
  } finally {
    tap?.close();
    watcher?.stop();
    await echo?.stop();
    await lab.down();
  }
}

/** Waits until the shard is where the record has placed it: its first owner is whoever was up first, and is replaced once all is quiet. */
async function untilPlaced(lab: Lab, watcher: OwnershipWatcher, shard: number): Promise<void> {
  await waitFor(
    async () => {
      const list = { kinds: ['Assignment'], tenant: '', network: '', name: '' };
      const { records } = await lab.ask('controller', { kind: 'list', value: list }, 'list');
      for (const { record } of records) {
        if (record?.kind !== 'assignment') continue;
        // Until a list of voters has taken effect, the one before it has a say, too: of the very first, one machine's.
        if (record.value.previousVoters !== undefined) return false;
        const first = record.value.shards.find(({ id }) => id === shard)?.order[0];
        const member = record.value.members.find((one) => one.member === first);
        if (member !== undefined) return watcher.owner(shard) === member.hostId;
      }
      return false;
    },
    {
      what: `shard ${shard} to be its preferred owner's`,
      deadlineMs: 60_000,
      intervalMs: 200,
      show: () => `it is ${watcher.owner(shard)}'s`,
    },
  );
  await watcher.untilAtRest(60_000);
}

/** Waits until the owner says that its standby has all it needs. @throws {DeadlineError} Also when it tells nobody. */
export async function untilProtected(
  { lab, watcher, shard }: Pick<FailoverLab, 'lab' | 'watcher' | 'shard'>,
  deadlineMs = 30_000,
): Promise<void> {
  let last = '';
  await waitFor(
    async () => {
      const owner = watcher.owner(shard);
      if (owner === undefined) return false;
      const status = await lab.ask(owner, { kind: 'gatewayStatus', value: { gatewayId: '' } }, 'gatewayStatus', 1_000);
      const lag = status.groups.flatMap(({ shards }) => shards).find((one) => one.shard === shard)?.lag;
      last = JSON.stringify(lag ?? 'it tells nobody');
      return lag?.isProtected === true;
    },
    { what: `shard ${shard} to be protected by its standby`, deadlineMs, intervalMs: 50, show: () => last },
  );
}
