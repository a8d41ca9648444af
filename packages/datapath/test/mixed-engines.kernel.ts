import { datapathConformance } from '../conformance/suite.ts';
import { createKernelDatapath } from '../src/kernel/kernel-datapath.ts';
import { createUserDatapath } from '../src/user/index.ts';

const logger = { info: () => {}, warn: () => {} };
const user = (options: Parameters<typeof createUserDatapath>[0]) => createUserDatapath({ ...options, logger });

// Whoever has the forged frames to refuse is host B, so both ways are worth a run.
datapathConformance('kernel engine at A, user-space engine at B', { a: createKernelDatapath, b: user });
datapathConformance('user-space engine at A, kernel engine at B', { a: user, b: createKernelDatapath });
