import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type LabNet, spawnIn, type TempDir, tempDir, waitFor } from '@weft/testkit';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { LabClient } from '../src/client.ts';
import type { ControlPlane } from '../src/control-plane.ts';
import { Daemons } from '../src/daemons.ts';
import type { LabSpec } from '../src/lab-file.ts';

describe('daemons of a lab', () => {
  let dir: TempDir;
  let closed: boolean;
  let daemons: Daemons | undefined;

  beforeEach(() => {
    dir = tempDir();
    closed = false;
  });
  afterEach(async () => {
    await daemons?.agent('h1').stop();
    dir.remove();
  });

  /** A host `h1` whose agent is a shell with this script, and answers as soon as `answers`. */
  function withAgent(script: string, answers: () => boolean): Daemons {
    const host = {
      address: '192.0.2.1',
      underlayDevice: 'underlay0',
      dir: dir.path,
      spawn: (argv: readonly string[]) => spawnIn(undefined, argv, { logFile: join(dir.path, 'agent.log') }),
    };
    const registry = {
      get closed() {
        return closed;
      },
    };
    const net = { name: 'lab', dir: dir.path, registry, host: () => host } as unknown as LabNet;
    const spec = { hosts: [{ name: 'h1', engine: 'kernel', roles: ['host'] }] } as unknown as LabSpec;
    const plane = { natsServers: [], admin: { publicKey: 'key' }, trust: { refresh: async () => {} } } as unknown as ControlPlane;
    const ask = async (): Promise<unknown> => {
      if (!answers()) throw new Error('nobody answers');
      return { natsState: 'connected' };
    };
    daemons = new Daemons(net, spec, plane, { ask } as unknown as LabClient, { weft: ['sh', '-c', script], keep: false });
    return daemons;
  }

  it('an agent that ends before it answers fails at once, with its exit status and the end of its log', async () => {
    const started = performance.now();
    const failure = await withAgent('echo cannot start: no underlay; exit 3', () => false)
      .startAgent('h1')
      .catch((error: Error) => error);
    expect(failure).toMatchObject({ name: 'LabError', code: 'WEFT_ERR_LAB_START' });
    expect((failure as Error).message).toMatch(
      /^The agent of h1, pid \d+, ended \(exit status 3\); end of its log:\ncannot start: no underlay$/,
    );
    // Not the deadline for an answer.
    expect(performance.now() - started).toBeLessThan(20_000);
  });

  it('tells of an agent that dies later, by itself or by a hand from outside, even when its log is gone', async () => {
    const all = withAgent('echo ready; exec sleep 600', () => existsSync(join(dir.path, 'agent.log')));
    await all.startAgent('h1');
    await all.agent('h1').waitForLine(/ready/);
    expect(all.deaths()).toEqual([]);
    process.kill(all.agent('h1').pid, 'SIGKILL');
    await all.agent('h1').exited;
    const { pid } = all.agent('h1');
    expect(all.deaths()).toEqual([`The agent of h1, pid ${pid}, ended (SIGKILL); end of its log:\nready`]);
    // Its successor is another one: the death stays told.
    await all.startAgent('h1');
    expect(all.deaths()).toHaveLength(1);
    rmSync(join(dir.path, 'agent.log'));
    expect(all.deaths()[0]).toMatch(/ended \(SIGKILL\); end of its log:\n\(no log: ENOENT/);
    closed = true;
    expect(all.deaths()).toEqual([]);
  });

  it('does not tell of one that it was asked to end', async () => {
    const all = withAgent('exec sleep 600', () => true);
    await all.startAgent('h1');
    all.agent('h1').kill('SIGKILL');
    await all.agent('h1').exited;
    await waitFor(() => !all.agent('h1').alive, { what: 'the agent to be gone' });
    expect(all.deaths()).toEqual([]);
  });
});
