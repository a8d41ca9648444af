import { mkdirSync } from 'node:fs';
import { run } from '@weft/testkit';
import type { BenchContext } from '../core/context.ts';
import { VSID } from './addresses.ts';
import type { PathEnd } from './topology.ts';

/** Whether Open vSwitch's programs are on this machine. They are measured beside Weft where they are, and not installed for it. */
export async function ovsInstalled(): Promise<boolean> {
  try {
    await run('ovs-vswitchd', ['--version']);
    return true;
  } catch {
    return false;
  }
}

/**
 * Open vSwitch with its user-space datapath (the kernel's is absent on many machines): an ovs-vswitchd per host, a bridge with the VM's device and a VXLAN
 * port. The user-space datapath terminates tunnels itself, so the bridge that holds the underlay device has the provider address.
 */
export async function ovsVxlan(
  a: PathEnd,
  b: PathEnd,
  devices: { readonly a: string; readonly b: string },
  context: BenchContext,
): Promise<void> {
  for (const [own, peer, device] of [
    [a, b, devices.a],
    [b, a, devices.b],
  ] as const) {
    const { host } = own;
    const dir = `${host.dir}/ovs`;
    mkdirSync(dir, { recursive: true });
    const env = { OVS_RUNDIR: dir, OVS_DBDIR: dir, OVS_LOGDIR: dir, OVS_SYSCONFDIR: dir };
    const socket = `unix:${dir}/db.sock`;
    const vsctl = async (...args: string[]): Promise<void> => {
      await run('ovs-vsctl', ['--timeout=20', `--db=${socket}`, ...args], { netns: host.netns, env, timeoutMs: 30_000 });
    };
    await run('ovsdb-tool', ['create', `${dir}/conf.db`, '/usr/share/openvswitch/vswitch.ovsschema'], { env });
    const database = await host.spawn(['ovsdb-server', `${dir}/conf.db`, `--remote=p${socket}`, `--unixctl=${dir}/db.ctl`], {
      env,
      logName: 'ovsdb',
    });
    context.beforeClose(host.netns, () => database.stop(2_000).then(() => undefined));
    await waitForSocket(`${dir}/db.sock`);
    await vsctl('--no-wait', 'init');
    const daemon = await host.spawn(['ovs-vswitchd', socket, `--unixctl=${dir}/vswitchd.ctl`], { env, logName: 'ovs-vswitchd' });
    context.beforeClose(host.netns, () => daemon.stop(2_000).then(() => undefined));
    await vsctl('add-br', 'br-phy', '--', 'set', 'bridge', 'br-phy', 'datapath_type=netdev', `other_config:hwaddr=${host.underlayMac}`);
    await vsctl('add-port', 'br-phy', host.underlayDevice);
    await run('ip', ['-n', host.netns, 'address', 'flush', 'dev', host.underlayDevice]);
    await run('ip', ['-n', host.netns, 'address', 'add', `${host.address}/24`, 'dev', 'br-phy']);
    await run('ip', ['-n', host.netns, 'link', 'set', 'br-phy', 'up', 'mtu', '1500']);
    await vsctl('add-br', 'br-int', '--', 'set', 'bridge', 'br-int', 'datapath_type=netdev');
    await vsctl('add-port', 'br-int', device);
    await vsctl(
      ...[
        'add-port',
        'br-int',
        'vx0',
        '--',
        'set',
        'interface',
        'vx0',
        'type=vxlan',
        `options:remote_ip=${peer.host.address}`,
        `options:key=${VSID}`,
      ],
    );
    await run('ip', ['-n', host.netns, 'neigh', 'replace', peer.host.address, 'lladdr', peer.host.underlayMac, 'dev', 'br-phy']);
  }
}

async function waitForSocket(path: string): Promise<void> {
  const { existsSync } = await import('node:fs');
  const { waitFor } = await import('@weft/testkit');
  await waitFor(() => existsSync(path), { deadlineMs: 10_000, what: `socket ${path}` });
}
