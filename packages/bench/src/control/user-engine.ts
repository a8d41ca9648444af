import { createLabNet, createVmNetns, type LabNet, run } from '@weft/testkit';
import type { BenchContext } from '../core/context.ts';
import { type Figure, plainFigure, ratioFigure } from '../core/figure.ts';
import { median } from '../core/statistics.ts';
import { iperfStream } from '../path/iperf.ts';
import { ovsInstalled, ovsVxlan } from '../path/ovs.ts';
import { TENANT_MTU_BYTES, UNDERLAY_MTU_BYTES } from '../path/topology.ts';
import { labPort, withControlLab } from './control-lab.ts';

/** Of one stream; the first second of a round is not counted apart, as both warm up alike. */
const SECONDS = 3;
const [PORT_A, PORT_B] = [labPort(0), labPort(1)];

/**
 * One TCP stream between VMs that are namespaces, over hosts with the user-space engine, beside Open vSwitch's user-space datapath where that is installed.
 * Printed: the engine is for machines that refuse the kernel's, and promises no speed.
 */
export async function userEngineFigures(context: BenchContext): Promise<Figure[]> {
  const vms = [
    { host: 'h1', port: PORT_A },
    { host: 'h2', port: PORT_B },
  ];
  const withOvs = await ovsInstalled();
  return await withControlLab(
    context,
    { suffix: 'user', hosts: ['h1', 'h2'], engine: 'user', ports: [PORT_A, PORT_B], vms },
    async ({ lab }) => {
      await lab.untilConsistent();
      const peer = withOvs ? await createOvsPath(context) : undefined;
      try {
        const ours: number[] = [];
        const theirs: number[] = [];
        for (let round = 0; round < context.rounds; round++) {
          context.progress(`user-engine: round ${round + 1}/${context.rounds}`);
          ours.push(
            await iperfStream({
              client: lab.vm(PORT_A.name).netns.netns,
              server: lab.vm(PORT_B.name).netns.netns,
              address: PORT_B.address,
              seconds: SECONDS,
              registry: lab.net.registry,
            }),
          );
          if (peer === undefined) continue;
          theirs.push(
            await iperfStream({
              client: peer.client,
              server: peer.server,
              address: PORT_B.address,
              seconds: SECONDS,
              registry: peer.net.registry,
            }),
          );
        }
        const show = (values: readonly number[]): string => `${median(values).toFixed(3)} Gb/s`;
        const figures = [
          plainFigure({
            id: 'user-engine',
            what: 'user-space engine: one TCP stream',
            values: ours,
            unit: 'Gb/s',
            ...(peer ? {} : { note: 'Open vSwitch is not installed here: not measured beside it' }),
          }),
        ];
        if (peer === undefined) return figures;
        const note = `weft user-space ${show(ours)}, OVS netdev ${show(theirs)}`;
        const what = 'user-space engine: one TCP stream, beside OVS';
        return [...figures, ratioFigure({ id: 'user-engine-ovs', what, ours, theirs, against: 'OVS user-space datapath', note })];
      } finally {
        if (peer !== undefined) await context.closePath(peer.net);
      }
    },
  );
}

async function createOvsPath(context: BenchContext): Promise<{ readonly net: LabNet; readonly client: string; readonly server: string }> {
  const net = await createLabNet({
    name: context.name('ovs'),
    hosts: [{ name: 'a' }, { name: 'b' }],
    mtu: UNDERLAY_MTU_BYTES,
    mode: 'veth',
    direct: true,
  });
  const vm = async (side: 'a' | 'b'): Promise<string> => {
    const own = side === 'a' ? PORT_A : PORT_B;
    const made = await createVmNetns({
      name: `vm-${side}`,
      netns: `${net.host(side).netns}-vm`,
      hostNetns: net.host(side).netns,
      hostDevice: `vm-${side}`,
      mac: own.mac,
      addresses: [`${own.address}/16`],
      mtu: TENANT_MTU_BYTES,
      registry: net.registry,
    });
    // This datapath reads packet sockets: it would pass on checksums that nobody finishes, and frames that nobody cuts.
    await run('ethtool', ['-K', 'eth0', 'tx', 'off', 'tso', 'off', 'gso', 'off', 'gro', 'off'], { netns: made.netns });
    return made.netns;
  };
  const [client, server] = [await vm('a'), await vm('b')];
  for (const side of ['a', 'b'] as const) {
    const { netns, underlayDevice } = net.host(side);
    await run('ethtool', ['-K', underlayDevice, 'tx', 'off', 'tso', 'off', 'gso', 'off', 'gro', 'off'], { netns });
  }
  await ovsVxlan({ host: net.host('a'), taps: [] }, { host: net.host('b'), taps: [] }, { a: 'vm-a', b: 'vm-b' }, context);
  return { net, client, server };
}
