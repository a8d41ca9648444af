import { existsSync, readdirSync } from 'node:fs';
import { Session } from 'node:inspector';
import { type GatewayTableChange, type TableChange, type TableEntry, TargetKind } from '@weft/forwarding';
import { createWorld } from '@weft/forwarding/testing';
import { DropReason, dropReasonTexts } from '@weft/model';
import { parseIp, parseMac } from '@weft/packet';
import { inNetns } from '@weft/tuntap';
import { afterEach, describe, expect, it } from 'vitest';
import { findOnLinkPrefix } from '../src/host/underlay.ts';
import { createKernelDatapath, ensureGuard, hasGuard, type KernelDatapath, removeGuard, resumeKernelDatapath } from '../src/index.ts';
import { addHostNetns, dropCount, Lab, netnsPath, RUN, sh, shIn } from './support/lab.ts';
import { RecordedPings } from './support/recorded-pings.ts';

let cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.reverse()) cleanup();
  cleanups = [];
});

let hosts = 0;
/** A host without ports: a namespace with one TAP as underlay. */
function host(): {
  netns: string;
  open: (options?: object) => KernelDatapath;
  resume: (options?: object) => KernelDatapath | undefined;
} {
  const netns = `wdpl${RUN}${hosts++}`;
  addHostNetns(netns);
  sh(`ip -n ${netns} tuntap add under0 mode tap; ip -n ${netns} link set under0 up`);
  const always = { instance: netns, pa: parseIp('192.0.2.1'), underlayInterface: 'under0' };
  const open = (options: object = {}): KernelDatapath => inNetns(netnsPath(netns), () => createKernelDatapath({ ...always, ...options }));
  const resume = (options: object = {}): KernelDatapath | undefined => resumeKernelDatapath({ ...always, ...options });
  cleanups.push(() => {
    // By its tables where it can be: loading programs takes a second, and here they would only be thrown away.
    if (existsSync(`/sys/fs/bpf/weft/${netns}`)) {
      const datapath = resume() ?? open();
      inNetns(netnsPath(netns), () => datapath.destroy());
    }
    sh(`ip netns del ${netns}`);
  });
  return { netns, open, resume };
}

/** Rows as sorted lines, whatever the order of their properties. */
const text = (rows: readonly TableEntry[]): string[] => rows.map((row) => `${row.table} ${plain(row.key)} ${plain(row.value)}`).sort();

function plain(value: unknown): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex');
  if (typeof value !== 'object' || value === null) return String(value);
  const fields = Object.entries(value).sort(([x], [y]) => (x < y ? -1 : 1));
  return fields.map(([name, field]) => `${name}=${plain(field)}`).join(',');
}

const rowsOf = (changes: readonly TableChange[]): TableEntry[] =>
  changes.flatMap((change) => (change.op === 'put' ? [{ table: change.table, key: change.key, value: change.value } as TableEntry] : []));

function mappings(count: number): TableChange[] {
  const zero = new Uint8Array(16);
  return Array.from({ length: count }, (_, i): TableChange => {
    const ca = parseIp('10.0.0.0').slice();
    new DataView(ca.buffer).setUint32(12, 0x0a000000 + i);
    const mac = parseMac('02:00:00:00:00:00').slice();
    new DataView(mac.buffer).setUint32(2, i);
    const value = {
      mac,
      kind: TargetKind.PEER,
      flags: 0,
      vsid: 5000,
      ifindexOrShard: 0,
      pa: parseIp('192.0.2.7'),
      prevPa: zero,
      prevUntilBootNs: 0n,
      generation: BigInt(i),
    };
    return { op: 'put', table: 'lookup', key: { networkId: 7, ca }, value };
  });
}

describe('tables', () => {
  it('hold exactly what was applied, also for the next process', () => {
    const { open } = host();
    const world = createWorld(42, { portIfindexes: [7, 8, 9, 10], underlayIfindex: 2 });
    const first = open();
    first.apply(world.changes);
    expect(text(first.entries())).toEqual(text(rowsOf(world.changes)));
    first.close();
    const second = open();
    expect(text(second.entries())).toEqual(text(rowsOf(world.changes)));
    second.close();
  });

  it('take the last of several changes of one row', () => {
    const { open } = host();
    const datapath = open();
    const [row] = mappings(1) as [TableChange & { op: 'put'; table: 'lookup' }];
    const other = { ...row, value: { ...row.value, vsid: 6000 } };
    const remove: TableChange = { op: 'delete', table: 'lookup', key: row.key };
    const vsids = (changes: readonly TableChange[]): number[] => {
      datapath.apply(changes);
      return datapath.entries('lookup').map((entry) => (entry.table === 'lookup' ? entry.value.vsid : -1));
    };
    expect(vsids([row, other])).toEqual([6000]);
    expect(vsids([row, remove])).toEqual([]);
    expect(vsids([row, remove, other])).toEqual([6000]);
    expect(vsids([remove, remove])).toEqual([]);
    datapath.close();
  });

  it('write nothing when a row is bad', () => {
    const { open } = host();
    const datapath = open();
    const bad = {
      op: 'put',
      table: 'subnet',
      key: { vsid: -1 },
      value: { networkId: 1, flags: 0, gateway4: new Uint8Array(16), gateway6: new Uint8Array(16) },
    } as const;
    expect(() => datapath.apply([...mappings(3), bad])).toThrow(expect.objectContaining({ code: 'WEFT_ERR_DATAPATH_BAD_ROW' }));
    expect(() => datapath.apply([{ op: 'put', table: 'nat' } as never])).toThrow(
      expect.objectContaining({ code: 'WEFT_ERR_DATAPATH_BAD_ROW' }),
    );
    expect(datapath.entries()).toEqual([]);
    datapath.close();
  });

  it('say so when they are full, and keep their size over a restart', () => {
    const { open } = host();
    const small = open({ maxEntries: { lookup: 10 } });
    expect(() => small.apply(mappings(11))).toThrow(expect.objectContaining({ code: 'WEFT_ERR_DATAPATH_TABLE_FULL' }));
    small.close();
    const again = open();
    expect(again.statistics().capacity.lookup).toBe(10);
    again.close();
    expect(() => open({ maxEntries: { lookup: 20 } })).toThrow(expect.objectContaining({ code: 'WEFT_ERR_BPF_PIN_MISMATCH' }));
  });

  it('load 200,000 mappings at 100,000 a second of a processor at the very least', () => {
    const { open } = host();
    const datapath = open();
    const changes = mappings(200_000);
    // Not the clock's: what others do to the processor meanwhile is none of it.
    const before = process.cpuUsage();
    datapath.apply(changes);
    const { user, system } = process.cpuUsage(before);
    const seconds = (user + system) / 1e6;
    console.log(`${Math.round(changes.length / seconds / 1000)},000 mappings a second`);
    expect(datapath.entries('lookup').length).toBe(changes.length);
    expect(changes.length / seconds).toBeGreaterThan(100_000);
    datapath.close();
  });
});

describe('the engine', () => {
  it('refuses options and devices by name', () => {
    const { open, netns } = host();
    const code = (expected: string): unknown => expect.objectContaining({ code: expected });
    expect(() => open({ instance: '../x' })).toThrow(code('WEFT_ERR_DATAPATH_BAD_OPTION'));
    expect(() => open({ pa: parseIp('2001:db8::1') })).toThrow(code('WEFT_ERR_DATAPATH_BAD_OPTION'));
    expect(() => open({ udpPort: 0 })).toThrow(code('WEFT_ERR_DATAPATH_BAD_OPTION'));
    expect(() => open({ underlayInterface: 'nosuch0' })).toThrow(code('WEFT_ERR_DATAPATH_NO_DEVICE'));
    expect(() => open({ objectFile: '/nonexistent/weft.bpf.o' })).toThrow(code('WEFT_ERR_DATAPATH_NO_OBJECT'));
    expect(() => open({ tunnelDevice: 'under0' })).toThrow(code('WEFT_ERR_DATAPATH_NO_DEVICE'));
    const datapath = open();
    const inside =
      (fn: () => void): (() => void) =>
      () =>
        inNetns(netnsPath(netns), fn);
    expect(inside(() => datapath.attachDevice({ name: 'nosuch0', ifindex: 99, kind: 'tap' }))).toThrow(code('WEFT_ERR_DATAPATH_NO_DEVICE'));
    expect(inside(() => datapath.attachDevice({ name: 'under0', ifindex: 99, kind: 'tap' }))).toThrow(code('WEFT_ERR_DATAPATH_NO_DEVICE'));
    datapath.close();
    datapath.close();
    expect(() => datapath.entries()).toThrow(code('WEFT_ERR_DATAPATH_CLOSED'));
  });

  it.each([true, false])('knows its devices, also after a restart and when one is gone (tcx: %s)', (tcx) => {
    const { open, netns } = host();
    const inside = <T>(fn: () => T): T => inNetns(netnsPath(netns), fn);
    const devices = ['p0', 'p1'].map((name) => {
      sh(`ip -n ${netns} tuntap add ${name} mode tap`);
      const ifindex = Number(shIn(netns, `ip -o link show ${name} | cut -d: -f1`));
      return { name, ifindex, kind: 'tap' as const };
    });
    const [one, two] = devices as [(typeof devices)[0], (typeof devices)[0]];
    const first = open({ tcx });
    first.apply(
      devices.map(({ ifindex }) => ({
        op: 'put',
        table: 'port',
        key: { ifindex },
        value: { networkId: 1, vsid: 1, mtuBytes: 1450, flags: 1, mac: new Uint8Array(6) },
      })),
    );
    expect(inside(() => first.attachedDevices())).toEqual([]);
    for (const device of [one, two, one]) inside(() => first.attachDevice(device));
    expect(inside(() => first.attachedDevices())).toEqual([one.ifindex, two.ifindex]);
    first.close();
    const second = open({ tcx });
    expect(inside(() => second.attachedDevices())).toEqual([one.ifindex, two.ifindex]);
    sh(`ip -n ${netns} tuntap del p1 mode tap`);
    expect(inside(() => second.attachedDevices())).toEqual([one.ifindex]);
    for (let i = 0; i < 2; i++) for (const { ifindex } of devices) inside(() => second.detachDevice(ifindex));
    expect(inside(() => second.attachedDevices())).toEqual([]);
    second.close();
  });

  it('destroys all it made', () => {
    const { open, netns } = host();
    const datapath = open();
    expect(existsSync(datapath.pinDirectory)).toBe(true);
    inNetns(netnsPath(netns), () => datapath.destroy());
    expect(existsSync(datapath.pinDirectory)).toBe(false);
    expect(existsSync(`/sys/fs/bpf/weft/${netns}`)).toBe(false);
    expect(shIn(netns, 'ip -o link show type vxlan')).toBe('');
    expect(readdirSync('/sys/fs/bpf/weft')).not.toContain(netns);
  });
});

describe('tables that a former process left at work', () => {
  const shard = (deadlineBootNs: bigint): GatewayTableChange => ({
    op: 'put',
    table: 'gateway_shard',
    key: { shard: 3 },
    value: { epoch: 9n, deadlineBootNs, handoverUntilBootNs: 0n, handoverPa: new Uint8Array(16), handoverMac: new Uint8Array(6) },
  });
  const deadlines = ({ gateway }: KernelDatapath): bigint[] =>
    gateway.entries('gateway_shard').flatMap((row) => (row.table === 'gateway_shard' ? [row.value.deadlineBootNs] : []));
  /** Kernel ids of the programs at the underlay and the tunnel. */
  const programs = (netns: string): string =>
    shIn(
      netns,
      `for i in $(ls /sys/fs/bpf/weft/${netns}/v1 | grep ^link_); do bpftool link show pinned /sys/fs/bpf/weft/${netns}/v1/$i; done`,
    )
      .split('\n')
      .flatMap((line) => /prog \d+/.exec(line)?.[0] ?? [])
      .join();

  it('are taken up while the process is profiled, which sends it a signal every 0.1 ms', async () => {
    const { open } = host();
    const session = new Session();
    session.connect();
    const post = async (method: string, params?: object): Promise<void> =>
      await new Promise((resolve, reject) => {
        session.post(method, params, (error) => (error === null ? resolve() : reject(error)));
      });
    await post('Profiler.enable');
    await post('Profiler.setSamplingInterval', { interval: 100 });
    await post('Profiler.start');
    try {
      for (let i = 0; i < 3; i++) open().close();
    } finally {
      await post('Profiler.stop');
      session.disconnect();
    }
  });

  it('are read and written before this version’s programs replace those at work, in the same maps', () => {
    const { netns, open, resume } = host();
    const first = open();
    first.apply(mappings(5));
    first.gateway.apply([shard(1_000n)]);
    first.close();
    const atWork = programs(netns);
    expect(atWork).not.toBe('');

    const resumed = resume()!;
    expect(text(resumed.entries())).toEqual(text(rowsOf(mappings(5))));
    expect(deadlines(resumed)).toEqual([1_000n]);
    expect(resumed.gateway.setDeadline(3, 9n, 2_000n)).toBe(true);
    resumed.apply(mappings(6).slice(5));
    expect(() => resumed.gateway.sweepNat(1)).toThrow(expect.objectContaining({ code: 'WEFT_ERR_DATAPATH_NOT_STARTED' }));
    expect(programs(netns)).toBe(atWork);

    inNetns(netnsPath(netns), () => resumed.start());
    expect(programs(netns)).not.toBe(atWork);
    expect(deadlines(resumed)).toEqual([2_000n]);
    expect(resumed.entries('lookup')).toHaveLength(6);
    expect(resumed.gateway.sweepNat(1).steps).toBeGreaterThanOrEqual(0);
    const once = programs(netns);
    inNetns(netnsPath(netns), () => resumed.start());
    expect(programs(netns)).toBe(once);
    resumed.close();

    const next = open();
    expect(deadlines(next)).toEqual([2_000n]);
    expect(next.entries('lookup')).toHaveLength(6);
    next.close();
  });

  it('stay with the programs at work when this version’s do not load, and can be started again', () => {
    const { netns, open, resume } = host();
    open().close();
    const atWork = programs(netns);
    const resumed = resume({ objectFile: '/nonexistent.o' })!;
    for (let turn = 0; turn < 2; turn++) {
      expect(() => inNetns(netnsPath(netns), () => resumed.start())).toThrow(
        expect.objectContaining({ code: 'WEFT_ERR_DATAPATH_NO_OBJECT' }),
      );
    }
    expect(programs(netns)).toBe(atWork);
    resumed.gateway.apply([shard(5_000n)]);
    expect(deadlines(resumed)).toEqual([5_000n]);
    resumed.close();
  });

  it('are not taken over where there are none, or one of them is missing', () => {
    const { netns, open, resume } = host();
    expect(resume()).toBeUndefined();
    open().close();
    sh(`rm /sys/fs/bpf/weft/${netns}/v1/map_nat_pressure`);
    expect(resume()).toBeUndefined();
  });
});

describe('drop counters', () => {
  it('count packets and bytes and keep the head of the last frame', () => {
    const { open, netns } = host();
    const datapath = open();
    const run = (frame: Uint8Array): void => {
      inNetns(netnsPath(netns), () => datapath.testRun('from_port', { data: frame, ctx: { ifindex: 1 } }));
    };
    run(new Uint8Array(100).fill(0xaa));
    run(Uint8Array.from({ length: 80 }, (_, i) => i + 1));
    const [counter] = datapath.drops();
    expect(counter).toMatchObject({ ifindex: 1, vsid: 0, reason: DropReason.NO_PORT, packets: 2n, bytes: 180n });
    expect([...counter!.sample]).toEqual(Array.from({ length: 64 }, (_, i) => i + 1));
    run(new Uint8Array(20).fill(0xbb));
    expect([...datapath.drops()[0]!.sample]).toEqual(new Array(20).fill(0xbb));
    expect(datapath.drops()[0]!.lastBootNs).toBeGreaterThan(0n);
    expect(datapath.statistics().droppedPackets).toBe(3n);
    datapath.forgetDrops(1);
    expect(datapath.drops()).toEqual([]);
    datapath.close();
  });

  it('lose no count when there is no room: the place is lost', () => {
    const { open, netns } = host();
    // Room for all reasons and one device.
    const datapath = open({ maxEntries: { drops: dropReasonTexts.size + 1 } });
    sh(`ip -n ${netns} tuntap add p0 mode tap`);
    const ifindex = Number(shIn(netns, 'ip -o link show p0 | cut -d: -f1'));
    for (const at of [1, ifindex, ifindex, 1]) {
      inNetns(netnsPath(netns), () => datapath.testRun('from_port', { data: new Uint8Array(60), ctx: { ifindex: at } }));
    }
    expect(datapath.drops().reduce((sum, { packets }) => sum + packets, 0n)).toBe(4n);
    expect(datapath.drops().find((counter) => counter.ifindex === 0)).toMatchObject({ reason: DropReason.NO_PORT, packets: 2n });
    datapath.close();
  });
});

describe('provider addresses that need no route', () => {
  it.each([
    ['a subnet', 'ip addr add 192.0.2.1/24 dev under0', { prefix: 0x000200c0, mask: 0x00ffffff }],
    ['a small subnet', 'ip addr add 192.0.2.1/30 dev under0', { prefix: 0x000200c0, mask: 0xfcffffff }],
    ['a single address', 'ip addr add 192.0.2.1/32 dev under0', { prefix: 0, mask: 0 }],
    ['an address elsewhere', 'ip addr add 192.0.2.1/24 dev lo', { prefix: 0, mask: 0 }],
    ['no address', 'true', { prefix: 0, mask: 0 }],
    [
      'a subnet with a part behind a router',
      'ip addr add 192.0.2.1/24 dev under0; ip route add 192.0.2.128/25 via 192.0.2.2',
      { prefix: 0, mask: 0 },
    ],
    [
      'a subnet with a host that is cut off',
      'ip addr add 192.0.2.1/24 dev under0; ip route add blackhole 192.0.2.9',
      { prefix: 0, mask: 0 },
    ],
  ])('are those of %s', (_, command, expected) => {
    const { netns } = host();
    shIn(netns, command);
    expect(inNetns(netnsPath(netns), () => findOnLinkPrefix('under0', parseIp('192.0.2.1')))).toEqual(expected);
  });
});

describe('a restart under load', () => {
  it('loses no frame: the programs are replaced in their links', async () => {
    const lab = new Lab();
    cleanups.push(() => lab.close());
    const subnet = { vsid: 5100, networkId: 3, prefix: '10.1.0' };
    const from = lab.addPort(lab.a, { kind: 'veth', subnet, number: 1 });
    const to = lab.addPort(lab.b, { kind: 'veth', subnet, number: 2 });
    shIn(from.vmNetns!, `ping -c 1 -W 2 ${to.ca}`);
    const pings = new RecordedPings(from.vmNetns!, to.ca, 2);
    for (let i = 0; i < 6; i++) {
      await pings.untilAnswered(30);
      for (const one of lab.hosts) {
        one.datapath.close();
        const datapath = one.in(() => createKernelDatapath({ instance: one.netns, pa: parseIp(one.pa), underlayInterface: 'under0' }));
        Object.assign(one, { datapath });
      }
    }
    await pings.untilAnswered(30);
    expect(await pings.stop()).toMatchObject({ gaps: [] });
  });
});

describe('the guard', () => {
  it('is made, found and removed', () => {
    const { netns } = host();
    inNetns(netnsPath(netns), () => {
      expect(hasGuard()).toBe(false);
      ensureGuard();
      ensureGuard();
      expect(hasGuard()).toBe(true);
      sh('nft flush chain inet weft_guard forward');
      expect(hasGuard()).toBe(false);
      ensureGuard();
      expect(hasGuard()).toBe(true);
      removeGuard();
      removeGuard();
      expect(hasGuard()).toBe(false);
    });
  });

  it.each([
    ['with the guard alone', true, false],
    ['with the device settings alone', false, true],
  ])('keeps a VM without a program from the host, %s', async (_, withGuard, withSettings) => {
    const lab = new Lab();
    cleanups.push(() => lab.close());
    const port = lab.addPort(lab.a, { kind: 'veth', subnet: { vsid: 5200, networkId: 3, prefix: '10.1.0' }, number: 1 });
    const { netns } = lab.a;
    // The worst host: it forwards, and has an address in the tenant's subnet on the tenant's device.
    shIn(netns, `sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; ip addr add 10.1.0.253/24 dev ${port.device}`);
    if (withGuard) lab.a.in(() => ensureGuard());
    if (!withSettings) {
      shIn(
        netns,
        `ip link set ${port.device} arp on; sysctl -qw net.ipv6.conf.${port.device}.disable_ipv6=0 net.ipv4.conf.${port.device}.arp_ignore=0`,
      );
    }
    lab.a.in(() => lab.a.datapath.detachDevice(port.ifindex));
    const hostMac = shIn(netns, `ip -o link show ${port.device} | sed 's/.*link.ether \\([^ ]*\\).*/\\1/'`).trim();
    if (!withSettings) {
      // ARP may be answered; what is sent then goes nowhere.
      shIn(port.vmNetns!, `ip neigh replace 10.1.0.253 lladdr ${hostMac} dev eth0; ip neigh replace 192.0.2.2 lladdr ${hostMac} dev eth0`);
      shIn(port.vmNetns!, `ip neigh replace 10.1.0.254 lladdr ${hostMac} dev eth0`);
    }
    for (const address of ['10.1.0.253', '192.0.2.1', '192.0.2.2']) {
      expect(() => shIn(port.vmNetns!, `ping -c 1 -W 0.3 ${address}`)).toThrow('100% packet loss');
    }
    expect(dropCount(lab.a, DropReason.NONE)).toBe(0);
  });
});
