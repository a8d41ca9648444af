import { BpfObject } from '@weft/bpf';
import { afterAll, describe, expect, it } from 'vitest';
import * as L from '../src/kernel/nat/layout.ts';
import { compileHarness } from './support/nat-harness.ts';

// The offsets that TypeScript writes by are those of the compiled programs. C's names are TypeScript's in snake case.

const STRUCTS: Readonly<Record<string, readonly [offsets: Readonly<Record<string, number>>, bytes: number]>> = {
  nat_address: [L.NAT_ADDRESS, L.NAT_ADDRESS_BYTES],
  nat_pool: [L.NAT_POOL, L.NAT_MAP_LAYOUT.pool.valueBytes],
  nat_free: [L.NAT_FREE, L.NAT_MAP_LAYOUT.free.valueBytes],
  nat_free_block: [L.NAT_FREE_BLOCK, L.NAT_FREE_BLOCK_BYTES],
  nat_port: [L.NAT_PORT, L.NAT_PORT_BYTES],
  nat_block_key: [L.NAT_BLOCK_KEY, L.NAT_MAP_LAYOUT.block.keyBytes],
  nat_block_head: [L.NAT_BLOCK_HEAD, L.NAT_BLOCK_HEAD_BYTES],
  nat_source_key: [L.NAT_SOURCE_KEY, L.NAT_MAP_LAYOUT.source.keyBytes],
  nat_source_state: [L.NAT_SOURCE_STATE, L.NAT_SOURCE_STATE_BYTES],
  nat_source: [L.NAT_SOURCE, L.NAT_MAP_LAYOUT.source.valueBytes],
  nat_mapping_key: [L.NAT_MAPPING_KEY, L.NAT_MAP_LAYOUT.mapping.keyBytes],
  nat_mapping: [L.NAT_MAPPING, L.NAT_MAP_LAYOUT.mapping.valueBytes],
  nat_session_key: [L.NAT_SESSION_KEY, L.NAT_MAP_LAYOUT.session.keyBytes],
  nat_session: [L.NAT_SESSION, L.NAT_MAP_LAYOUT.session.valueBytes],
  nat_reverse_key: [L.NAT_REVERSE_KEY, L.NAT_MAP_LAYOUT.reverse.keyBytes],
  nat_reverse: [L.NAT_REVERSE, L.NAT_MAP_LAYOUT.reverse.valueBytes],
  nat_quota: [L.NAT_QUOTA, L.NAT_MAP_LAYOUT.quota.valueBytes],
  nat_usage: [L.NAT_USAGE, L.NAT_MAP_LAYOUT.usage.valueBytes],
  nat_share: [L.NAT_SHARE, L.NAT_MAP_LAYOUT.share.valueBytes],
  nat_pressure: [L.NAT_PRESSURE, L.NAT_PRESSURE_BYTES],
  nat_rate: [L.NAT_RATE, L.NAT_MAP_LAYOUT.rate.valueBytes],
  nat_counters: [L.NAT_COUNTERS, 32],
  nat_event_block: [L.NAT_EVENT_BLOCK, 152],
  nat_event_mapping: [L.NAT_EVENT_MAPPING, 200],
  nat_event_session: [L.NAT_EVENT_SESSION, 128],
};
const cName = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

const harness = compileHarness();
const object = BpfObject.open(harness.path);
afterAll(() => {
  object.close();
  harness.remove();
});

describe('layout of port mapping', () => {
  it.each(Object.entries(STRUCTS))('struct %s has the offsets that TypeScript writes', (name, [offsets, bytes]) => {
    const layout = object.structLayout(name);
    expect(layout.size).toBe(bytes);
    const fields = layout.fields.filter((field) => !field.name.startsWith('pad'));
    expect(Object.fromEntries(fields.map((field) => [field.name, field.offset]))).toEqual(
      Object.fromEntries(Object.entries(offsets).map(([field, offset]) => [cName(field), offset])),
    );
    const covered = new Set(layout.fields.flatMap((field) => Array.from({ length: field.size }, (_, i) => field.offset + i)));
    expect(covered.size, 'padding has a name').toBe(layout.size);
  });

  it('names the maps as the programs do', () => {
    for (const { map } of Object.values(L.NAT_MAP_LAYOUT)) expect(object.mapNames()).toContain(map);
  });
});
