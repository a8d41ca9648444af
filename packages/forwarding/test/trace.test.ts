import { describe, expect, it } from 'vitest';
import { fromPort, fromTunnel, fromUnderlay, Trace } from '../src/index.ts';
import { createWorld, generateFrame, judge, Rng, tablesOf, tunnelFrame } from '../src/testing/index.ts';
import { udpTo } from './cases/port-forward.ts';
import { inner } from './cases/underlay.ts';
import { A, C, CONTEXT, HOST_C, HOST_D, PA, tables } from './fixture.ts';
import { expectSame } from './same.ts';

describe('Trace', () => {
  it('tells each look-up and the verdict of a routed frame', () => {
    const trace = new Trace();
    fromPort(tables(), { ifindex: A.ifindex, frame: udpTo('198.51.100.1') }, { ...CONTEXT, trace });
    const text = trace.toString();
    expect(trace.steps.map(({ what }) => what)).toEqual([
      'frame',
      'port',
      'lookup record',
      'identity',
      'destination MAC',
      'customer route',
      'lookup record',
      'size',
      'gateway shard',
      'verdict',
    ]);
    expect(text).toContain('port: device 11 -> network 7, subnet 5001, MAC 02:00:00:00:00:0a, MTU 1400, ready');
    expect(text).toContain('customer route: network 7, 198.51.100.1 -> by way of 10.0.2.2');
    expect(text).toContain('gateway shard: shard 1 -> owned by 192.0.2.21, epoch 1');
    expect(text).toContain('verdict: tunnel -> to host 192.0.2.21 with VNI 5003');
  });

  it('names the reason of a drop and what an operator does about it', () => {
    const trace = new Trace();
    const frame = tunnelFrame({ source: HOST_D, destination: PA, vni: 5001 }, inner(C, A));
    fromUnderlay(tables(), { frame }, { ...CONTEXT, trace });
    expect(trace.toString()).toContain('identity: 10.0.0.20 from host 192.0.2.12 -> does not live there');
    expect(trace.steps.at(-1)?.result).toMatch(/^SOURCE_NOT_AT_THIS_PEER: .* Operator: a compromised or stale host\.$/);
  });

  it('tells the checks of the tunnel device', () => {
    const trace = new Trace();
    fromTunnel(tables(), { frame: inner(C, A), source: HOST_C, vni: 5001, marked: true }, { ...CONTEXT, trace });
    expect(trace.steps[0]?.key).toBe('from the tunnel, VNI 5001');
    expect(trace.steps.at(-1)).toEqual({ what: 'verdict', key: 'local', result: 'to device 11' });
  });

  it('changes no verdict', () => {
    for (let seed = 0; seed < 8; seed++) {
      const world = createWorld(seed, { portIfindexes: [11, 12, 13, 14], underlayIfindex: 10 });
      const all = tablesOf(world);
      const rng = new Rng(seed);
      for (let i = 0; i < 1000; i++) {
        const frame = generateFrame(rng, world);
        const trace = new Trace();
        expectSame(frame, judge(all, world, frame, trace), judge(all, world, frame));
        expect(trace.steps.at(-1)?.what).toBe('verdict');
      }
    }
  });
});
