import { describe, expect, test } from 'vitest';
import { explain, guard, type NativeError, TunTapError } from '../src/errors.ts';

const nativeError = (errnoName: string, errno: number, syscall: string): NativeError =>
  Object.assign(new Error(`${syscall}: words`), { errno, errnoName, syscall });

describe('explain()', () => {
  test.each([
    ['ENOENT', 2, 'open /dev/net/tun', 'WEFT_ERR_TUNTAP_NO_DEVICE_NODE', 'modprobe tun'],
    ['ENODEV', 19, 'open /dev/net/tun', 'WEFT_ERR_TUNTAP_NO_DEVICE_NODE', 'modprobe tun'],
    ['EPERM', 1, 'TUNSETIFF', 'WEFT_ERR_TUNTAP_NOT_PERMITTED', 'CAP_NET_ADMIN'],
    ['EPERM', 1, 'socket AF_PACKET', 'WEFT_ERR_TUNTAP_NOT_PERMITTED', 'CAP_NET_RAW'],
    ['EPERM', 1, 'setns', 'WEFT_ERR_TUNTAP_NOT_PERMITTED', 'CAP_SYS_ADMIN'],
    ['EBUSY', 16, 'TUNSETIFF', 'WEFT_ERR_TUNTAP_BUSY', 'exists already'],
    ['EINVAL', 22, 'TUNSETIFF', 'WEFT_ERR_TUNTAP_KIND_MISMATCH', 'multi-queue'],
    ['EIO', 5, 'write', 'WEFT_ERR_TUNTAP_DOWN', 'up'],
    ['ENOBUFS', 105, 'write', 'WEFT_ERR_TUNTAP_WOULD_BLOCK', 'full'],
    ['EBADFD', 77, 'read', 'WEFT_ERR_TUNTAP_GONE', 'removed'],
    ['EFAULT', 14, 'read', 'WEFT_ERR_TUNTAP_SYSCALL', 'words'],
  ])('%s (%i) of %s is %s', (errnoName, errno, syscall, code, advice) => {
    const error = explain('open tap "no-such-tap"', 'no-such-tap', nativeError(errnoName, errno, syscall));
    expect(error).toMatchObject({ name: 'TunTapError', code, errno, errnoName, syscall });
    expect(error.message).toMatch(/^Cannot open tap "no-such-tap": /);
    expect(error.message).toContain(advice);
  });
});

test('guard() lets errors of others through', () => {
  const own = new TunTapError('WEFT_ERR_TUNTAP_CLOSED', 'closed');
  for (const error of [own, new TypeError('other')]) {
    expect(() =>
      guard('x', 'y', () => {
        throw error;
      }),
    ).toThrow(error);
  }
});
