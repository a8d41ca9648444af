import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { nextWait } from '../src/up/backoff.ts';
import { takeLock } from '../src/up/lock.ts';
import { checkNatsVersion, compareVersions, findNatsServer, natsConfig, parseNatsVersion, waitForNats } from '../src/up/nats-server.ts';
import { type ServiceEvent, SupervisedService } from '../src/up/supervisor.ts';
import { chooseUnderlay, defaultRouteInterface } from '../src/up/underlay.ts';

const scratch: string[] = [];
const temp = (): string => {
  const dir = mkdtempSync(join(tmpdir(), 'weft-cli-'));
  scratch.push(dir);
  return dir;
};
afterEach(() => {
  for (const dir of scratch.splice(0)) rmSync(dir, { recursive: true, force: true });
});

describe('nextWait()', () => {
  const backoff = { firstMs: 500, maxMs: 30_000, steadyMs: 60_000 };

  it('doubles up to the longest wait, and begins anew after a steady run', () => {
    let deaths = 0;
    const waits = Array.from({ length: 9 }, () => {
      const next = nextWait(backoff, deaths, 10);
      deaths = next.deaths;
      return next.waitMs;
    });
    expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    expect(nextWait(backoff, 40, 60_000)).toEqual({ waitMs: 500, deaths: 1 });
    expect(nextWait(backoff, 5_000, 10).waitMs).toBe(30_000);
  });
});

describe('nats-server versions', () => {
  it('compares by number', () => {
    expect(compareVersions('2.10.0', '2.9.10')).toBe(1);
    expect(compareVersions('2.9.10', '2.9.10')).toBe(0);
    expect(compareVersions('2.9.9', '2.9.10')).toBe(-1);
    expect(parseNatsVersion('nats-server: v2.9.10\n')).toBe('2.9.10');
  });

  it('refuses what is too old, saying what is needed and what to do', () => {
    expect(() => checkNatsVersion('/x/nats-server', '2.8.4')).toThrow(/version is 2\.8\.4, Weft needs 2\.9\.10 or newer.*--nats-server/);
    expect(() => checkNatsVersion('/x/cat', undefined)).toThrow(/names no version/);
    expect(checkNatsVersion('/x/nats-server', '2.12.1').version).toBe('2.12.1');
    expect(() => findNatsServer('/nowhere/nats-server', {})).toThrow(/no such program/);
  });

  it('asks for a sync before each acknowledgement where the server has it', () => {
    const config = { host: '127.0.0.1', port: 4222, storeDir: '/var/lib/weft/nats', serverName: 'weft' };
    expect(natsConfig({ ...config, version: '2.9.10' })).not.toContain('sync_interval');
    expect(natsConfig({ ...config, version: '2.10.0' })).toContain('sync_interval: always');
  });

  it('waits for a greeting, not only for a listener', async () => {
    const greeters: (() => void)[] = [];
    const server = createServer((socket) => greeters.push(() => socket.end('INFO {}\r\n')));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    let ready = false;
    const wait = waitForNats('127.0.0.1', port, AbortSignal.timeout(10_000)).then(() => {
      ready = true;
    });
    await new Promise<void>((resolve) => server.once('connection', () => resolve()));
    expect(ready).toBe(false);
    greeters[0]!();
    await wait;
    expect(ready).toBe(true);
    await new Promise((resolve) => server.close(resolve));
  });
});

describe('chooseUnderlay()', () => {
  const interfaces = { lo: ['127.0.0.1'], eth0: ['192.0.2.1'], eth1: ['198.51.100.1', '198.51.100.2'], eth2: [] };
  const routes =
    'Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth1\t00000000\t0\t3\t0\t0\t200\t00000000\neth0\t00000000\t0\t3\t0\t0\t100\t00000000\n';

  it('takes the default route with the lowest metric when nothing was asked', () => {
    expect(defaultRouteInterface(routes)).toBe('eth0');
    expect(chooseUnderlay({}, interfaces, routes)).toEqual({ iface: 'eth0', address: '192.0.2.1' });
  });

  it('completes an interface or an address', () => {
    expect(chooseUnderlay({ address: '198.51.100.2' }, interfaces, '')).toEqual({ iface: 'eth1', address: '198.51.100.2' });
    expect(chooseUnderlay({ iface: 'eth0' }, interfaces, '')).toEqual({ iface: 'eth0', address: '192.0.2.1' });
  });

  it('says what this machine has when it can not choose', () => {
    expect(() => chooseUnderlay({ iface: 'eth1' }, interfaces, '')).toThrow(
      /several addresses: pass --provider-address; this machine has: .*eth1 198\.51\.100\.1/,
    );
    expect(() => chooseUnderlay({ iface: 'eth2' }, interfaces, '')).toThrow(/no IPv4 address/);
    expect(() => chooseUnderlay({ address: '203.0.113.9' }, interfaces, '')).toThrow(/203\.0\.113\.9/);
    expect(() => chooseUnderlay({}, interfaces, '')).toThrow(/no default route/);
  });
});

describe('takeLock()', () => {
  it('lets one in, refuses the next, and lets again after release', async () => {
    const path = join(temp(), 'up.lock');
    const first = await takeLock(path, 'weft up');
    await expect(takeLock(path, 'weft up')).rejects.toThrow(/weft up runs already \(it holds .*up\.lock\)/);
    first.release();
    await expect
      .poll(
        () =>
          takeLock(path, 'weft up').then(
            (lock) => {
              lock.release();
              return true;
            },
            () => false,
          ),
        { timeout: 10_000 },
      )
      .toBe(true);
  });
});

describe('SupervisedService', () => {
  const backoff = { firstMs: 10, maxMs: 50, steadyMs: 60_000 };

  it('starts again what died, and tells how it died', async () => {
    const events: ServiceEvent[] = [];
    const service = new SupervisedService(
      { name: 'x', argv: ['sh', '-c', 'echo hello; exec sleep 1000'] },
      { backoff, onEvent: (event) => events.push(event) },
    );
    const lines = (): number => events.filter((event) => event.kind === 'line').length;
    await service.start();
    await expect.poll(lines, { timeout: 10_000 }).toBe(1);
    const first = service.pid!;
    process.kill(first, 'SIGKILL');
    await expect.poll(() => service.pid !== undefined && service.pid !== first, { timeout: 10_000 }).toBe(true);
    expect(events).toContainEqual({ kind: 'ended', name: 'x', how: 'signal SIGKILL', restartInMs: 10 });
    await expect.poll(lines, { timeout: 10_000 }).toBe(2);
    const second = service.pid!;
    await service.stop();
    expect(() => process.kill(second, 0)).toThrow();
    expect(events.at(-1)).toEqual({ kind: 'stopped', name: 'x' });
  });

  it('fails the start when the first readiness fails, and when the program is not there', async () => {
    const quiet = { backoff, onEvent: () => {} };
    const unready = new SupervisedService(
      { name: 'x', argv: ['sleep', '1000'], ready: () => Promise.reject(new Error('port taken')) },
      quiet,
    );
    await expect(unready.start()).rejects.toThrow('port taken');
    await unready.stop();
    const aborted = new SupervisedService(
      {
        name: 'x',
        argv: ['false'],
        ready: (signal) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
      },
      quiet,
    );
    await expect(aborted.start()).rejects.toThrow(/x ended \(exit status 1\) before it was ready/);
    await aborted.stop();
  });

  it('kills what ignores SIGTERM after its grace', async () => {
    const lines: string[] = [];
    const service = new SupervisedService(
      { name: 'x', argv: ['sh', '-c', 'trap "" TERM; echo deaf; while :; do sleep 0.05; done'], graceMs: 100 },
      { backoff, onEvent: (event) => event.kind === 'line' && lines.push(event.line) },
    );
    await service.start();
    await expect.poll(() => lines, { timeout: 10_000 }).toContain('deaf');
    const pid = service.pid!;
    await service.stop();
    expect(() => process.kill(pid, 0)).toThrow();
  });
});
