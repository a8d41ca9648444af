import { DropReason } from '@weft/model';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  Action,
  ERRORS_PER_SECOND,
  ErrorLimit,
  type ForwardingContext,
  fromExternal,
  fromPort,
  gatewayMac,
  toGateway,
  type Verdict,
} from '../src/index.ts';
import { BLUE_MEMBER, gatewayContext, hostTables, into, OUTSIDE, out, STATIC_ADDRESS, VSID } from './cases/gateway.ts';
import { udpTo } from './cases/port-forward.ts';
import { A, B, BLUE, C, type Nic, NOW, RED } from './fixture.ts';

const SECOND = 1_000_000_000n;
const MILLISECOND = 1_000_000n;
const EXTERNAL_DEVICE = 21;

describe('ErrorLimit', () => {
  it('lets through no more than a burst and the rate, and all that keep to the rate', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(5_000_000), { minLength: 1, maxLength: 4_000 }), (gaps) => {
        const limit = new ErrorLimit();
        let [now, told] = [SECOND, 0];
        for (const gap of gaps) {
          now += BigInt(gap);
          if (limit.take('inside', 1, now)) told++;
        }
        expect(told).toBeLessThanOrEqual(ERRORS_PER_SECOND + Number((now - SECOND) / MILLISECOND));
        const patient = Array.from({ length: 50 }, (_, i) => limit.take('inside', 1, now + BigInt(i + 1) * SECOND));
        expect(patient).not.toContain(false);
      }),
      { numRuns: 30 },
    );
  });

  it('counts for each who is told alone', () => {
    const limit = new ErrorLimit();
    for (let i = 0; i < 2 * ERRORS_PER_SECOND; i++) limit.take('inside', 1, NOW);
    expect(limit.take('inside', 1, NOW)).toBe(false);
    expect(limit.take('inside', 2, NOW)).toBe(true);
    expect(limit.take('outside', 1, NOW)).toBe(true);
    expect(limit.take('port', 1, NOW)).toBe(true);
  });

  it('remembers a bounded number', () => {
    const limit = new ErrorLimit();
    for (let i = 0; i < ERRORS_PER_SECOND; i++) limit.take('inside', 0, NOW);
    for (let id = 1; id <= 16_384; id++) limit.take('inside', id, NOW);
    expect(limit.take('inside', 0, NOW)).toBe(true);
  });
});

describe('a flood of packets that are too old', () => {
  const kinds: readonly [string, (context: ForwardingContext) => Verdict, (context: ForwardingContext) => Verdict][] = [
    [
      'of one network at its gateway',
      (context) => ofNetwork(RED, C.ip4, VSID, context),
      (context) => ofNetwork(BLUE, BLUE_MEMBER, 6003, context),
    ],
    [
      'from the outside',
      (context) => fromExternal(hostTables, { ifindex: EXTERNAL_DEVICE, frame: into(STATIC_ADDRESS, { ttl: 1 }) }, context),
      (context) => ofNetwork(RED, C.ip4, VSID, context),
    ],
    ['of one port', (context) => ofPort(A, '10.0.1.20', context), (context) => ofPort(B, '10.0.0.20', context)],
  ];

  it.each(kinds)("%s is answered a thousand times at once, then only dropped; another's is answered", (_, flood, other) => {
    const context = { ...gatewayContext(), errors: new ErrorLimit() };
    for (let i = 0; i < ERRORS_PER_SECOND; i++) {
      const { action, reason } = flood(context);
      expect([action === Action.DROP, reason]).toEqual([false, DropReason.TTL_EXCEEDED]);
    }
    expect(flood(context)).toMatchObject({ action: Action.DROP, reason: DropReason.TTL_EXCEEDED });
    expect(other(context).action).not.toBe(Action.DROP);
  });
});

function ofNetwork(networkId: number, source: Uint8Array, vsid: number, context: ForwardingContext): Verdict {
  return toGateway(hostTables, { frame: out(source, OUTSIDE, { ttl: 1 }), networkId, shard: 1, vsid, isSecondHand: false }, context);
}

function ofPort(nic: Nic, destination: string, context: ForwardingContext): Verdict {
  const frame = udpTo(destination, { ttl: 1, source: nic.ip4, mac: gatewayMac(nic.vsid) });
  frame.set(nic.mac, 6);
  return fromPort(hostTables, { ifindex: nic.ifindex, frame }, context);
}
