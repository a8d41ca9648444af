import { datapathConformance } from '../conformance/suite.ts';
import { createUserDatapath } from '../src/user/index.ts';

const silent = { info: () => {}, warn: () => {} };
const user = (options: { instance: string; pa: Uint8Array; underlayInterface: string }) =>
  createUserDatapath({ ...options, logger: silent });

datapathConformance('user-space engine', { a: user, b: user });
