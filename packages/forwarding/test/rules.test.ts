import { DropReason, dropReasonName } from '@weft/model';
import { describe, expect, it } from 'vitest';
import { Action, actionName } from '../src/index.ts';
import type { RuleCase } from './cases/case.ts';
import { GATEWAY_CASES } from './cases/gateway.ts';
import { PORT_FORWARD_CASES } from './cases/port-forward.ts';
import { PORT_IP_CASES } from './cases/port-ip.ts';
import { PORT_LINK_CASES } from './cases/port-link.ts';
import { UNDERLAY_CASES } from './cases/underlay.ts';

const GROUPS: Record<string, readonly RuleCase[]> = {
  'from a port: Ethernet, ARP, ND': PORT_LINK_CASES,
  'from a port: IP': PORT_IP_CASES,
  'from a port: forwarding': PORT_FORWARD_CASES,
  'from the underlay': UNDERLAY_CASES,
  'at a gateway': GATEWAY_CASES,
};

// Made by the kernel's helpers only, or of what only the kernel's buffers have.
const KERNEL_ONLY: readonly number[] = [DropReason.NONE, DropReason.KERNEL_REFUSED, DropReason.CHECKSUM_OFFLOAD_MISPLACED];
// Port mapping's own.
const NAT_ONLY: readonly number[] = Object.entries(DropReason).flatMap(([name, reason]) => (name.startsWith('NAT_') ? [reason] : []));
const NOT_HERE: readonly number[] = [...KERNEL_ONLY, ...NAT_ONLY];

for (const [group, cases] of Object.entries(GROUPS)) {
  describe(`rules of the contract, ${group}`, () => {
    it.each(cases.map((one) => [one.title, one] as const))('%s', (_, { verdict, reason, action = Action.DROP }) => {
      const got = verdict();
      expect(`${actionName(got.action)} ${dropReasonName(got.reason)}`).toBe(`${actionName(action as Action)} ${dropReasonName(reason)}`);
    });
  });
}

describe('the table of cases', () => {
  it('reaches every reason that a decision can give', () => {
    const reached = new Set<number>(Object.values(GROUPS).flatMap((cases) => cases.map(({ verdict }) => verdict().reason)));
    const missing = Object.values(DropReason).filter((reason) => !reached.has(reason) && !NOT_HERE.includes(reason));
    expect(missing.map(dropReasonName)).toEqual([]);
  });

  it('has no two cases of one title', () => {
    for (const cases of Object.values(GROUPS)) expect(new Set(cases.map(({ title }) => title)).size).toBe(cases.length);
  });
});
