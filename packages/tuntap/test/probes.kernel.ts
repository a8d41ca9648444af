import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startTcpEcho, startTcpProbe, startUdpEcho } from '../src/index.ts';
import { Sandbox } from './sandbox.ts';

let sandbox: Sandbox;
beforeEach(() => {
  sandbox = new Sandbox();
  sandbox.ip('link', 'set', 'lo', 'up');
});
afterEach(() => sandbox.remove());

describe('startTcpProbe()', () => {
  test('makes as many connections as asked, at a rate, from an address', async () => {
    const echo = sandbox.run(() => startTcpEcho({ address: '127.0.0.1', port: 7 }));
    const options = { address: '127.0.0.1', port: 7, source: '127.0.0.9', mode: 'connect', orderly: true } as const;
    const result = await sandbox.run(() => startTcpProbe({ ...options, count: 50, ratePerSecond: 1_000 })).result();
    expect(result).toMatchObject({ transactions: 50, failed: 0, errors: {} });
    // 50 at 1,000 a second: the last begins 49 ms after the first.
    expect(result.elapsedNs).toBeGreaterThanOrEqual(49e6);
    await echo.stop();
  });

  test('counts what nobody answers, by its error', async () => {
    const options = { address: '127.0.0.1', port: 9, mode: 'connect' } as const;
    const result = await sandbox.run(() => startTcpProbe({ ...options, count: 3 })).result();
    expect(result).toMatchObject({ transactions: 0, failed: 3, errors: { ECONNREFUSED: 3 } });
  });

  test('must have an end', () => {
    expect(() => startTcpProbe({ address: '127.0.0.1', port: 7, mode: 'connect' })).toThrow('give durationMs or count');
  });
});

test('startUdpEcho() sends back what comes, and tells how many', async () => {
  // In this process's own namespace, as Node binds later than it is told to; so at an address that no other run has.
  const address = `127.91.${(process.pid >> 8) & 255}.${process.pid & 255}`;
  const echo = startUdpEcho({ address, port: 7 });
  const socket = createSocket('udp4').bind(0, address);
  await once(socket, 'listening');
  for (const text of ['one', 'two']) {
    socket.send(text, 7, address);
    const [message] = (await once(socket, 'message')) as [Buffer];
    expect(message.toString()).toBe(text);
  }
  socket.close();
  expect(await echo.stop()).toBe(2);
});
