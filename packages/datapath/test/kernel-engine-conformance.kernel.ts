import { datapathConformance } from '../conformance/suite.ts';
import { createKernelDatapath } from '../src/kernel/kernel-datapath.ts';

datapathConformance('kernel engine', { a: createKernelDatapath, b: createKernelDatapath });
