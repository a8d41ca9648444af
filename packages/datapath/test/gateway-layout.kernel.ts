import { BpfObject } from '@weft/bpf';
import { GATEWAY_TABLES } from '@weft/forwarding';
import { describe, expect, it } from 'vitest';
import { DEFAULT_OBJECT_FILE } from '../src/index.ts';
import {
  type Field,
  GATEWAY_MAPS,
  PROBE_REPLY,
  PROBE_REPLY_BYTES,
  PROBE_SHARD,
  PROBE_SHARD_BYTES,
  TRAFFIC,
} from '../src/kernel/gateway-layout.ts';

// The offsets that TypeScript writes the gateway's rows by are those of the compiled programs.

const object = BpfObject.open(DEFAULT_OBJECT_FILE);
const C_NAMES: Readonly<Record<string, string>> = { prefixLength: 'prefixlen', mtuBytes: 'mtu' };
const cName = (name: string): string => C_NAMES[name] ?? name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const SIZES = { u8: 1, be16: 2, u32: 4, be32: 4, prefix: 4, u64: 8, mac: 6, address: 16 } as const;

/** By table: the structs of key and value; a u32 has none. */
const STRUCTS: Readonly<Record<string, readonly [key: string | undefined, value: string | undefined]>> = {
  external: [undefined, 'weft_external'],
  segment: [undefined, 'weft_segment'],
  external_route: ['weft_segment_prefix', 'weft_external_route'],
  gateway_shard: [undefined, 'weft_gateway_shard'],
  gateway_network: [undefined, 'weft_gateway_network'],
  external_address: ['weft_external_address_key', 'weft_external_address'],
  external_prefix: ['weft_segment_prefix', 'weft_external_prefix'],
  port_forward: ['weft_port_forward_key', 'weft_port_forward'],
  peering: ['weft_route_key', 'weft_peering'],
  source_rule: ['weft_route_key', 'weft_source_rule'],
  peer_gateway: ['weft_pa_key', undefined],
};

function expectShape(struct: string, fields: readonly Field[], bytes: number): void {
  const layout = object.structLayout(struct);
  expect([struct, layout.size]).toEqual([struct, bytes]);
  const named = layout.fields.filter(({ name }) => name !== 'pad').map(({ name, offset, size }) => [name, offset, size]);
  expect([struct, named]).toEqual([struct, fields.map(([name, kind, offset]) => [cName(name), offset, SIZES[kind]])]);
  const covered = new Set(layout.fields.flatMap(({ offset, size }) => Array.from({ length: size }, (_, i) => offset + i)));
  expect([struct, covered.size]).toEqual([struct, bytes]);
}

describe('layout of the gateway', () => {
  it.each(GATEWAY_TABLES.map((table) => [table] as const))('table %s is what the programs read', (table) => {
    const { map, key, value, keyBytes, valueBytes } = GATEWAY_MAPS[table];
    const [keyStruct, valueStruct] = STRUCTS[table]!;
    if (keyStruct === undefined) expect(keyBytes).toBe(4);
    else expectShape(keyStruct, key, keyBytes);
    if (valueStruct === undefined) expect(valueBytes).toBe(4);
    else expectShape(valueStruct, value, valueBytes);
    expect(object.mapNames()).toContain(map);
  });

  it('reads the traffic of networks where the programs count it', () => {
    const { size, fields } = object.structLayout('weft_traffic');
    expect([size, Object.fromEntries(fields.map(({ name, offset }) => [name, offset]))]).toEqual([16, TRAFFIC]);
  });

  it('reads the answers of probes where the programs write them', () => {
    const reply = object.structLayout('weft_probe_reply');
    expect(reply.size).toBe(PROBE_REPLY_BYTES);
    const offsets = Object.fromEntries(reply.fields.filter(({ name }) => name !== 'pad').map(({ name, offset }) => [name, offset]));
    expect(offsets).toEqual(Object.fromEntries(Object.entries(PROBE_REPLY).map(([name, offset]) => [cName(name), offset])));
    const shard = object.structLayout('weft_probe_shard');
    expect([shard.size, Object.fromEntries(shard.fields.map(({ name, offset }) => [name, offset]))]).toEqual([
      PROBE_SHARD_BYTES,
      PROBE_SHARD,
    ]);
  });
});
