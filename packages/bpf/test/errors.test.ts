import { expect, test } from 'vitest';
import { type BpfError, guard } from '../src/errors.ts';

const thrownFor = (fields: object): BpfError => {
  try {
    guard('do it', () => {
      throw Object.assign(new Error('words'), { errno: 1, ...fields });
    });
  } catch (error) {
    return error as BpfError;
  }
  throw new Error('unreachable');
};

test.each([
  ['EPERM', 'bpf_object__load', 'WEFT_ERR_BPF_NOT_PERMITTED', 'CAP_BPF'],
  ['EPERM', 'BPF_MAP_UPDATE_ELEM', 'WEFT_ERR_BPF_NOT_PERMITTED', 'frozen'],
  ['ENOENT', 'BPF_OBJ_GET', 'WEFT_ERR_BPF_NOT_FOUND', 'does not exist'],
  ['ENODEV', 'BPF_LINK_CREATE', 'WEFT_ERR_BPF_NOT_FOUND', 'no such interface'],
  ['EINVAL', 'BPF_LINK_CREATE', 'WEFT_ERR_BPF_NOT_SUPPORTED', 'attachClsact'],
  ['E2BIG', 'BPF_MAP_UPDATE_BATCH', 'WEFT_ERR_BPF_MAP_FULL', 'maxEntries'],
  ['ENOSPC', 'BPF_MAP_UPDATE_ELEM', 'WEFT_ERR_BPF_MAP_FULL', 'maxEntries'],
  ['ENOTSUPP', 'BPF_MAP_LOOKUP_BATCH', 'WEFT_ERR_BPF_NOT_SUPPORTED', 'no such operation'],
  ['EINVAL', 'BPF_PROG_TEST_RUN', 'WEFT_ERR_BPF_TEST_RUN_REFUSED', '14 to some 3,700'],
  ['EINVAL', 'bpf_object__open', 'WEFT_ERR_BPF_BAD_OBJECT', 'clang'],
  ['EFAULT', 'BPF_OBJ_PIN', 'WEFT_ERR_BPF_SYSCALL', 'words'],
])('%s of %s is %s', (errnoName, syscall, code, advice) => {
  const error = thrownFor({ errnoName, syscall });
  expect(error).toMatchObject({ name: 'BpfError', code, errnoName, syscall, verifierLog: '' });
  expect(error.message).toMatch(/^Cannot do it: /);
  expect(error.message).toContain(advice);
});

test('the verifier is quoted, not its statistics', () => {
  const verifierLog = '0: (b7) r0 = 0\nR1 invalid mem access\nprocessed 2 insns (limit 1000000)\n';
  const error = thrownFor({ errnoName: 'EACCES', syscall: 'bpf_object__load', verifierLog });
  expect(error).toMatchObject({ code: 'WEFT_ERR_BPF_VERIFIER_REJECTED', verifierLog });
  expect(error.message).toContain('R1 invalid mem access');
});

test('errors of others pass', () => {
  const other = new TypeError('other');
  expect(() =>
    guard('do it', () => {
      throw other;
    }),
  ).toThrow(other);
});
