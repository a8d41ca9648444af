import { applyNatEvent, BufferedNatStore, type NatEvent, natStateCodec, restoreNatRow, snapshotNat } from '@weft/forwarding';
import { parseIp } from '@weft/packet';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { compareStores, flowOf, freeRow, SEGMENT } from './support/nat-bench.ts';
import { compileHarness, NatHarness } from './support/nat-harness.ts';

// What it costs the agents to keep a standby: from the owner's ring buffer through the message to the standby's kernel maps, the way packages/agent does it.

const NETWORK = 11;
const FLOWS = 4_000;
const BATCH = 500;

let harness: ReturnType<typeof compileHarness>;
beforeAll(() => {
  harness = compileHarness();
});
afterAll(() => harness?.remove());

/** A new connection of one of four VMs. */
const flow = (i: number): ReturnType<typeof flowOf> =>
  flowOf({
    networkId: NETWORK,
    near: parseIp(`10.0.0.${1 + (i & 3)}`),
    nearPort: 1024 + (i >> 2),
    remote: parseIp('198.51.100.1'),
    remotePort: 53,
  });

describe('the cost of a standby', () => {
  it('is printed; the way through messages gives it the same tables, by changes and by a snapshot', { timeout: 120_000 }, () => {
    const [owner, standby, fresh] = [new NatHarness(harness.path), new NatHarness(harness.path), new NatHarness(harness.path)];
    try {
      owner.setClock(1_000_000_000_000n);
      owner.setNetwork(NETWORK, { shard: 1, segment: SEGMENT });
      owner.setShard(1, { epoch: 5n, deadlineBootNs: 1n << 62n });
      owner.maps.set(
        'quota',
        { networkId: NETWORK },
        { blocks: 1 << 30, blocksPerSource: 1 << 30, sessions: 1 << 30, newFlowsPerSecond: 0 },
      );
      const address = { segment: SEGMENT, address: parseIp('203.0.113.1') };
      owner.maps.set('pool', { pool: 1 }, { addresses: [address] });
      owner.maps.set('free', address, freeRow(1008));
      const events: NatEvent[] = [];
      for (let i = 0; i < FLOWS; i++) {
        const { reason } = owner.outbound(flow(i), 1);
        if (reason !== 0) throw new Error(`flow ${i}: reason ${reason}`);
        if (i % 1_000 === 999) events.push(...owner.takeEvents());
      }
      const micros = { encode: 0, decode: 0, apply: 0, rows: 0 };
      const timed = <T>(what: keyof typeof micros, action: () => T): T => {
        const started = process.cpuUsage();
        const result = action();
        const { user, system } = process.cpuUsage(started);
        micros[what] += user + system;
        return result;
      };
      const envelope = { from: 'g1', to: 'g2', stream: 1, sequence: 1, sentBootNs: 1n };
      const store = new BufferedNatStore(standby.maps);
      let bytes = 0;
      for (let at = 0; at < events.length; at += BATCH) {
        const message = timed('encode', () =>
          natStateCodec.encode({ ...envelope, body: { kind: 'changes', value: events.slice(at, at + BATCH) } }),
        );
        bytes += message.length;
        const { body } = timed('decode', () => natStateCodec.decode(message));
        if (body.kind !== 'changes') throw new Error(body.kind);
        timed('apply', () => {
          for (const event of body.value) applyNatEvent(store, event, 0n);
          store.flush();
        });
      }
      const rows = [...snapshotNat(owner.maps)];
      timed('rows', () => {
        const into = new BufferedNatStore(fresh.maps);
        for (let at = 0; at < rows.length; at += 200) {
          for (const row of rows.slice(at, at + 200)) restoreNatRow(into, row, 0n);
          into.flush();
        }
      });
      const each = (value: number, of: number): string => (value / of).toFixed(1);
      console.log(
        `${events.length} changes of ${FLOWS} connections, ${each(bytes, events.length)} bytes a change; microseconds a change: ` +
          `${each(micros.encode, events.length)} to encode, ${each(micros.decode, events.length)} to decode, ${each(micros.apply, events.length)} to write; ` +
          `${each(micros.rows, rows.length)} a row of a snapshot`,
      );
      for (const one of [standby, fresh]) compareStores(owner.maps, one.maps, ['block', 'source', 'mapping', 'session']);
    } finally {
      for (const one of [owner, standby, fresh]) one.close();
    }
  });
});
