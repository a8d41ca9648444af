import { TargetKind } from '@weft/forwarding';
import { parseIp } from '@weft/packet';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Host, Lab, paOf, portId } from './harness.ts';

let lab: Lab;
beforeEach(async () => {
  lab = new Lab();
  await lab.init();
});
afterEach(() => lab.close());

const lookup = (host: Host, n: number) => host.datapath.tables.lookup(7, parseIp(`192.0.2.${n + 10}`));

describe('bind', () => {
  it('makes TAP, program, claim and rows; the other host of the network sees it', async () => {
    const [a, b] = [await lab.host('host-a'), await lab.host('host-b')];
    await lab.putPort(1);
    await lab.putPort(2);
    const first = await lab.bind(a, 1);
    expect(first.problems).toEqual([]);
    expect(first.result).toMatchObject({
      kind: 'bindPort',
      value: { mtuBytes: 1450, binding: { hostId: 'host-a', generation: 1, providerAddress: paOf('host-a') } },
    });
    expect((await lab.bind(b, 2)).problems).toEqual([]);
    await lab.settle(300);
    const tap = a.devices.present.get('tap1')!;
    expect(a.datapath.attached.has(tap.ifindex)).toBe(true);
    expect(a.devices.protectedNames.has('tap1')).toBe(true);
    expect(a.datapath.tables.port(tap.ifindex)).toMatchObject({ flags: 1, mtuBytes: 1450, networkId: 7 });
    expect(lookup(a, 1)).toMatchObject({ kind: TargetKind.LOCAL, ifindexOrShard: tap.ifindex });
    expect(lookup(a, 2)).toMatchObject({ kind: TargetKind.PEER, pa: parseIp(paOf('host-b')) });
    expect(lookup(b, 1)).toMatchObject({ kind: TargetKind.PEER, pa: parseIp(paOf('host-a')) });
    for (const host of [a, b]) expect(await lab.consistency(host)).toMatchObject({ consistent: true, differences: [] });
    expect(portId(1)).toBe(a.agent.ready ? portId(1) : 'not ready');
  });
});
