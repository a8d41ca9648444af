import { describe, expect, it } from 'vitest';
import { closedChains } from '../src/index.ts';

const PORT = 4789;
const chain = (policy: string, family = 'inet', hook = 'input'): object => ({
  chain: { family, table: 'filter', name: 'input', type: 'filter', hook, prio: 0, policy },
});
const rule = (expr: readonly object[], name = 'input', family = 'inet'): object => ({
  rule: { family, table: 'filter', chain: name, handle: 1, expr },
});
const dport = (right: unknown, protocol = 'udp', op = '=='): object => ({
  match: { op, left: { payload: { protocol, field: 'dport' } }, right },
});
const accept = { accept: null };
const drop = { drop: null };
const closed = (...nftables: object[]): number =>
  closedChains(JSON.stringify({ nftables: [{ metainfo: { json_schema_version: 1 } }, ...nftables] }), PORT).length;

describe('closedChains()', () => {
  it('finds nothing in an empty ruleset, or one that accepts by policy', () => {
    expect(closed()).toBe(0);
    expect(closed(chain('accept'))).toBe(0);
  });

  it('names a chain that drops by policy, and says what to add', () => {
    const [text] = closedChains(JSON.stringify({ nftables: [chain('drop')] }), PORT);
    expect(text).toContain('Chain input of nftables table inet filter');
    expect(text).toContain('udp dport 4789 accept');
  });

  it('names a chain whose last rule drops or rejects whatever is left', () => {
    expect(closed(chain('accept'), rule([{ counter: {} }, drop]))).toBe(1);
    expect(closed(chain('accept'), rule([{ reject: { type: 'icmpx' } }]))).toBe(1);
    expect(closed(chain('accept'), rule([dport(22, 'tcp'), drop]))).toBe(0);
  });

  it.each([
    ['the port itself', dport(PORT)],
    ['a set with it', dport({ set: [53, PORT] })],
    ['a range around it', dport({ range: [4000, 5000] })],
    ['a set with a range around it', dport({ set: [{ range: [4700, 4800] }] })],
    ['the port of any transport', dport(PORT, 'th')],
  ])('is content with a rule that accepts %s', (_, match) => {
    expect(closed(chain('drop'), rule([match, accept]))).toBe(0);
  });

  it.each([
    ['another port', dport(53)],
    ['a range beside it', dport({ range: [4790, 5000] })],
    ['the TCP port', dport(PORT, 'tcp')],
    ['all but the port', dport(PORT, 'udp', '!=')],
  ])('is not content with a rule that accepts %s', (_, match) => {
    expect(closed(chain('drop'), rule([match, accept]))).toBe(1);
  });

  it('is not content with a rule that drops the port', () => {
    expect(closed(chain('drop'), rule([dport(PORT), drop]))).toBe(1);
  });

  it('follows jumps, round in a circle too', () => {
    const jump = rule([{ jump: { target: 'services' } }]);
    const back = rule([{ goto: { target: 'input' } }], 'services');
    expect(closed(chain('drop'), jump, back)).toBe(1);
    expect(closed(chain('drop'), jump, back, rule([dport(PORT), accept], 'services'))).toBe(0);
  });

  it('does not mind other hooks and families', () => {
    expect(closed(chain('drop', 'inet', 'forward'))).toBe(0);
    expect(closed(chain('drop', 'ip6'))).toBe(0);
    expect(closed(chain('drop', 'ip'))).toBe(1);
  });
});
