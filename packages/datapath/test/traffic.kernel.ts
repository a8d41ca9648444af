import { spawn } from 'node:child_process';
import { inNetns } from '@weft/tuntap';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { dropsOf, Lab, type LabPort, netnsPath } from './support/lab.ts';

// Real traffic:   VM ns - TAP or veth - host A - tunnel - host B - TAP or veth - VM ns

const BLUE = { vsid: 5001, networkId: 7, prefix: '10.0.1' };
const GREEN = { vsid: 5002, networkId: 7, prefix: '10.0.2' };

let lab: Lab;
let ports: Record<'tapA' | 'tapB' | 'vethA' | 'vethB' | 'greenB' | 'tapA2', LabPort>;

beforeAll(() => {
  lab = new Lab();
  ports = {
    tapA: lab.addPort(lab.a, { kind: 'tap', subnet: BLUE, number: 1, withStack: true }),
    tapB: lab.addPort(lab.b, { kind: 'tap', subnet: BLUE, number: 2, withStack: true }),
    vethA: lab.addPort(lab.a, { kind: 'veth', subnet: BLUE, number: 3 }),
    vethB: lab.addPort(lab.b, { kind: 'veth', subnet: BLUE, number: 4 }),
    greenB: lab.addPort(lab.b, { kind: 'veth', subnet: GREEN, number: 5 }),
    tapA2: lab.addPort(lab.a, { kind: 'tap', subnet: BLUE, number: 6, withStack: true }),
  };
});
afterAll(() => lab?.close());

/** Runs a command in a VM while this process's event loop goes on moving the frames of the TAPs. */
function inVm(port: LabPort, command: string): Promise<{ status: number | null; output: string }> {
  return new Promise((resolve) => {
    const child = inNetns(netnsPath(port.vmNetns!), () => spawn('sh', ['-c', command], { stdio: ['ignore', 'pipe', 'pipe'] }));
    let output = '';
    child.stdout.on('data', (data: Buffer) => {
      output += data.toString();
    });
    child.stderr.on('data', (data: Buffer) => {
      output += data.toString();
    });
    child.on('close', (status) => resolve({ status, output }));
  });
}

const state = (): string => `drops at A: ${dropsOf(lab.a)}, at B: ${dropsOf(lab.b)}`;

const PAIRS = [
  ['tapA', 'tapB'],
  ['vethA', 'vethB'],
  ['tapA', 'vethB'],
  ['vethA', 'tapB'],
  ['tapA', 'vethA'],
  ['tapA', 'tapA2'],
  ['vethA', 'tapA'],
  ['tapA', 'greenB'],
  ['greenB', 'vethA'],
] as const;

describe('traffic', () => {
  it.each(PAIRS)('%s pings %s over IPv4 and IPv6', async (from, to) => {
    for (const address of [ports[to].ca, ports[to].ca6]) {
      const { status, output } = await inVm(ports[from], `ping -c 2 -i 0.05 -W 3 ${address}`);
      expect(status, `${output}${state()}`).toBe(0);
    }
  });

  it.each(PAIRS)('%s carries TCP to %s', async (from, to) => {
    for (const [address, family] of [
      [ports[to].ca, '-4'],
      [ports[to].ca6, '-6'],
    ]) {
      const server = inVm(ports[to], `timeout 30 iperf3 ${family} -s -1 -p 5201`);
      const { status, output } = await inVm(
        ports[from],
        `for i in 1 2 3 4 5 6 7 8 9 10; do iperf3 -c ${address} -p 5201 -n 40M --connect-timeout 3000 && exit 0; sleep 0.2; done; exit 1`,
      );
      expect(status, `${output}${state()}`).toBe(0);
      await server;
    }
  });

  it('of a tunnel that a container makes for itself passes, nested', async () => {
    const { vethA, vethB } = ports;
    for (const [own, other, address] of [
      [vethA, vethB, '172.20.0.1'],
      [vethB, vethA, '172.20.0.2'],
    ] as const) {
      const setUp = `ip link add vx0 type vxlan id 1 local ${own.ca} remote ${other.ca} dstport 8472 noudpcsum; ip addr add ${address}/24 dev vx0; ip link set vx0 mtu 1400 up`;
      expect(await inVm(own, setUp)).toMatchObject({ status: 0 });
    }
    const server = inVm(vethB, 'timeout 30 iperf3 -s -1 -p 5201');
    const { status, output } = await inVm(
      vethA,
      'ping -c 2 -i 0.05 -W 3 172.20.0.2 && for i in 1 2 3 4 5 6 7 8 9 10; do iperf3 -c 172.20.0.2 -p 5201 -n 5M --connect-timeout 3000 && exit 0; sleep 0.2; done; exit 1',
    );
    expect(status, `${output}${state()}`).toBe(0);
    await server;
  });
});
