/**
 * Weft's values: records, commands, keys, rules, plans, trust; and the way between them and protobuf. Pure.
 * @module
 */
export * from './address-ranges.ts';
export {
  addressId,
  chooseShard,
  isEmptyMember,
  moveShards,
  planAssignment,
  recoverAssignment,
  refreshAssignment,
  settleVoters,
  shardsWithPool,
  voterOf,
  type WantedAddress,
  type WantedAssignment,
  type WantedMember,
  withAddresses,
} from './assignment.ts';
export * from './codec.ts';
export * from './command-codecs.ts';
export * from './commands.ts';
export * from './diff.ts';
export * from './drop-reason.ts';
export * from './errors.ts';
export * from './gateway-codecs.ts';
export * from './gateway-commands.ts';
export * from './gateway-records.ts';
export * from './gateway-subnet.ts';
export * from './keys.ts';
export * from './manifest.ts';
export * from './nat-log.ts';
export * from './nearest.ts';
export * from './ownership.ts';
export * from './ownership-codecs.ts';
export { ownershipConfig } from './ownership-config.ts';
export * from './plan-apply.ts';
export * from './plan-delete.ts';
export * from './plan-drain.ts';
export * from './problems.ts';
export * from './record-codecs.ts';
export * from './records.ts';
export * from './resource-names.ts';
export * from './rules.ts';
export { isFamily4, isOpenTo, lies, MAX_SHARDS } from './rules-gateway.ts';
export * from './slices.ts';
export * from './specs.ts';
export * from './specs-gateway.ts';
export * from './to-manifest.ts';
export * from './trust.ts';
export * from './world.ts';
