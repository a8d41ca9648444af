import { readlinkSync } from 'node:fs';
import { expect, test } from 'vitest';
import { inNetns, openTap } from '../src/index.ts';
import { Sandbox } from './sandbox.ts';

const current = (): string => readlinkSync('/proc/thread-self/ns/net');

test('inNetns() runs in the namespace, returns the result and comes back', () => {
  const sandbox = new Sandbox();
  const home = current();
  const inside = inNetns(sandbox.path, current);
  expect(inside).not.toBe(home);
  expect(current()).toBe(home);
  sandbox.remove();
});

test('inNetns() nests, and comes back after an error', () => {
  const [outer, inner] = [new Sandbox(), new Sandbox()];
  const home = current();
  expect(() =>
    outer.run(() => {
      const middle = current();
      expect(inner.run(current)).not.toBe(middle);
      expect(current()).toBe(middle);
      throw new RangeError('from inside');
    }),
  ).toThrow(RangeError);
  expect(current()).toBe(home);
  outer.remove();
  inner.remove();
});

test('inNetns() refuses asynchronous functions, and comes back', async () => {
  const sandbox = new Sandbox();
  const home = current();
  expect(() => sandbox.run(async () => 1)).toThrow(expect.objectContaining({ code: 'WEFT_ERR_TUNTAP_ASYNC_IN_NETNS' }));
  expect(current()).toBe(home);
  sandbox.remove();
});

test('inNetns() says what is wrong with a path', () => {
  expect(() => inNetns('/run/netns/no-such', () => 1)).toThrow(expect.objectContaining({ code: 'WEFT_ERR_TUNTAP_NOT_FOUND' }));
  expect(() => inNetns('/etc/hostname', () => 1)).toThrow(expect.objectContaining({ name: 'TunTapError', errnoName: 'EINVAL' }));
});

test('one process holds TAPs of several namespaces', () => {
  const sandboxes = [new Sandbox(), new Sandbox()];
  const taps = sandboxes.map((sandbox) => sandbox.run(() => openTap({ name: 'tap0' })));
  for (const sandbox of sandboxes) expect(sandbox.ip('-o', 'link')).toContain('tap0');
  for (const tap of taps) tap.close();
  for (const sandbox of sandboxes) sandbox.remove();
});
