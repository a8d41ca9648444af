/**
 * The host agent: follows the networks that have ports here, keeps the packet path's tables, owns ports and their devices.
 *
 * - {@link createHostAgent}: the agent on given components (bus, packet path, devices, clock), as tests and {@link runAgent} use it.
 * - {@link parseAgentConfig}: configuration, pure. {@link runAgent}: a process's whole work on it.
 * - {@link NatFeed}, {@link FlowMeter}: what an agent reads of port mapping's events, for the benchmark to read as an agent does.
 *
 * @module
 */
export * from './components.ts';
export { CONDITIONS, type ConditionCode, type Severity } from './conditions.ts';
export { AGENT_CONFIG_KEYS, type AgentConfig, type AgentConfigKey, type EngineChoice, type LogLevel, parseAgentConfig } from './config.ts';
export { AGENT_ERRORS, AgentError, type AgentErrorCode } from './errors.ts';
export { FlowMeter } from './gateway/gateway-use.ts';
export { NatFeed, type NatListener } from './gateway/nat-feed.ts';
export { createHostAgent, HostAgent } from './host-agent.ts';
export { AGENT_VERSION, type RunAgentOptions, runAgent } from './run-agent.ts';
export { systemDevices } from './system-devices.ts';
