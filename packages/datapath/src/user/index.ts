/**
 * The user-space engine: the {@link Datapath} contract by the forwarding package and packet sockets, for machines that refuse BPF.
 *
 * @module
 */
export { createUserDatapath, UserDatapath, type UserDatapathLogger, type UserDatapathOptions } from './user-datapath.ts';
