import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Datapath } from '@weft/datapath';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AgentConfig } from '../src/config.ts';
import { startEngine } from '../src/engine.ts';

let pins: string;
beforeEach(() => {
  pins = mkdtempSync(join(tmpdir(), 'weft-engine-'));
});
afterEach(() => rmSync(pins, { recursive: true }));

const quiet = () => undefined;
const logger = { debug: quiet, info: quiet, warn: quiet, error: quiet };
const start = (engine: AgentConfig['engine']): Datapath =>
  startEngine({ engine, instance: 'one', underlay: 'eth9', udpPort: 4789 } as AgentConfig, '192.0.2.1', logger, {
    kernel: () => {
      throw new Error('maps of another size');
    },
    user: () => ({ engine: 'user' }) as Datapath,
    pins,
  });

describe('startEngine', () => {
  it('falls back to the user-space engine where the kernel refuses, unless it was told not to', () => {
    expect(start('auto').engine).toBe('user');
    expect(() => start('kernel')).toThrow('maps of another size');
  });

  it('never falls back beside programs that an earlier run left: they would forward by tables that nobody writes', () => {
    mkdirSync(join(pins, 'one', 'v1'), { recursive: true });
    writeFileSync(join(pins, 'one', 'v1', 'map_port'), '');
    expect(start('auto').engine).toBe('user');
    writeFileSync(join(pins, 'one', 'v1', 'link_from_port_7'), '');
    expect(() => start('auto')).toThrow('maps of another size');
  });

  it('refuses the user-space engine beside such programs, naming one and the command that removes them', () => {
    expect(start('user').engine).toBe('user');
    mkdirSync(join(pins, 'one', 'v1'), { recursive: true });
    writeFileSync(join(pins, 'one', 'v1', 'map_port'), '');
    expect(start('user').engine).toBe('user');
    for (const link of ['link_from_port_7', 'link_from_underlay_2']) writeFileSync(join(pins, 'one', 'v1', link), '');
    const refusal = expect.objectContaining({
      code: 'WEFT_ERR_AGENT_KERNEL_ENGINE',
      message: expect.stringMatching(/v1\/link_from_port_7 and 1 more.*--remove-kernel-engine/),
    });
    expect(() => start('user')).toThrow(refusal);
  });
});
