import { expect, test } from 'vitest';
import { createTap, inspectTap, interfaceIndex, linkState, setLink } from '../src/index.ts';
import { Sandbox } from './sandbox.ts';

interface Link {
  readonly mtu: number;
  readonly group: string;
  readonly flags: readonly string[];
  readonly inet6_addr_gen_mode: string;
}

test('setLink() sets all it is given at once, and leaves the rest', () => {
  const sandbox = new Sandbox();
  const look = (): Link => (JSON.parse(sandbox.ip('-json', '-details', 'link', 'show', 'dev', 'tap0')) as Link[])[0]!;
  sandbox.run(() => {
    createTap({ name: 'tap0' });
    setLink('tap0', { arp: false, group: 4711, ipv6AddressGeneration: false });
  });
  expect(look()).toMatchObject({ mtu: 1500, group: '4711', inet6_addr_gen_mode: 'none' });
  expect(look().flags).toContain('NOARP');
  expect(look().flags).not.toContain('UP');
  sandbox.run(() => setLink('tap0', { up: true, mtu: 1450 }));
  expect(sandbox.run(() => inspectTap('tap0'))).toMatchObject({ up: true });
  expect(look()).toMatchObject({ mtu: 1450, group: '4711', inet6_addr_gen_mode: 'none' });
  expect(look().flags).toContain('NOARP');
  sandbox.run(() => setLink('tap0', { up: false, arp: true }));
  expect(look().flags).not.toContain('NOARP');
  expect(look().flags).not.toContain('UP');
  expect(sandbox.ip('address', 'show', 'dev', 'tap0')).not.toContain('inet6');
  sandbox.remove();
});

test('interfaceIndex() knows every kind of interface, in the thread’s namespace', () => {
  const sandbox = new Sandbox();
  sandbox.run(() => {
    expect(interfaceIndex('lo')).toBe(1);
    expect(interfaceIndex('tap0')).toBeUndefined();
    createTap({ name: 'tap0' });
    expect(interfaceIndex('tap0')).toBe(inspectTap('tap0')?.ifindex);
  });
  expect(() => interfaceIndex('a b')).toThrow(expect.objectContaining({ code: 'WEFT_ERR_TUNTAP_BAD_NAME' }));
  sandbox.remove();
});

test('linkState() says what `ip link` says', () => {
  const sandbox = new Sandbox();
  const state = () => sandbox.run(() => linkState('v0'));
  expect(state()).toBeUndefined();
  sandbox.ip('link', 'add', 'v0', 'mtu', '1402', 'address', '02:00:00:00:00:07', 'type', 'veth', 'peer', 'name', 'v1');
  const ifindex = sandbox.run(() => interfaceIndex('v0'));
  const always = { ifindex, mtu: 1402, mac: Uint8Array.of(2, 0, 0, 0, 0, 7) };
  expect(state()).toEqual({ ...always, isUp: false, hasCarrier: false });
  sandbox.ip('link', 'set', 'v0', 'up');
  expect(state()).toEqual({ ...always, isUp: true, hasCarrier: false });
  sandbox.ip('link', 'set', 'v1', 'up');
  expect(state()).toEqual({ ...always, isUp: true, hasCarrier: true });
  sandbox.ip('link', 'set', 'v0', 'address', '02:00:00:00:00:08', 'mtu', '1300');
  expect(state()).toEqual({ ifindex, mtu: 1300, mac: Uint8Array.of(2, 0, 0, 0, 0, 8), isUp: true, hasCarrier: true });
  sandbox.ip('link', 'set', 'v1', 'down');
  expect(state()?.hasCarrier).toBe(false);
  expect(() => linkState('a b')).toThrow(expect.objectContaining({ code: 'WEFT_ERR_TUNTAP_BAD_NAME' }));
  sandbox.remove();
});

test('setLink() says what is wrong', () => {
  const sandbox = new Sandbox();
  const refuse = (name: string, settings: Parameters<typeof setLink>[1], code: string): void =>
    expect(() => sandbox.run(() => setLink(name, settings))).toThrow(expect.objectContaining({ code }));
  sandbox.run(() => createTap({ name: 'tap0' }));
  refuse('no-such', { up: true }, 'WEFT_ERR_TUNTAP_NOT_FOUND');
  refuse('a/b', { up: true }, 'WEFT_ERR_TUNTAP_BAD_NAME');
  refuse('a-name-that-is-too-long', { up: true }, 'WEFT_ERR_TUNTAP_BAD_NAME');
  refuse('tap0', {}, 'WEFT_ERR_TUNTAP_BAD_OPTION');
  refuse('tap0', { mtu: -1 }, 'WEFT_ERR_TUNTAP_BAD_OPTION');
  refuse('tap0', { group: 0.5 }, 'WEFT_ERR_TUNTAP_BAD_OPTION');
  refuse('tap0', { mtu: 1_000_000 }, 'WEFT_ERR_TUNTAP_SYSCALL');
  sandbox.remove();
});
