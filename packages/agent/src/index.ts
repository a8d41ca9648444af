export * from './components.ts';
export { CONDITIONS, type ConditionCode, Conditions } from './conditions.ts';
export { AGENT_ERRORS, AgentError, type AgentErrorCode } from './errors.ts';
export { createHostAgent, HostAgent } from './host-agent.ts';
export { systemDevices } from './system-devices.ts';
