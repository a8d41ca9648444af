import { readFileSync } from 'node:fs';
import { type BusInit, connectBus, type Identity, loadOrCreateIdentity } from '@weft/bus';
import { checkTunnelPort, ensureGuard } from '@weft/datapath';
import { TrustStore } from '@weft/model';
import { pino } from 'pino';
import { createSystemClock } from './boot-clock.ts';
import type { AgentLogger } from './components.ts';
import { type AgentConfig, DEFAULT_TUNNEL_DEVICE } from './config.ts';
import { resumeEngine, startEngine } from './engine.ts';
import { createHostAgent } from './host-agent.ts';
import { claimRunDirectory } from './run-files.ts';
import { keepScavengesShort } from './short-scavenges.ts';
import { systemDevices } from './system-devices.ts';
import { inspectUnderlay } from './underlay.ts';

export const AGENT_VERSION = '0.1.0' as const;

export interface RunAgentOptions {
  /** Default: pino, JSON lines on the standard error output. */
  readonly logger?: AgentLogger;
  /** Takes everything down when the signal aborts, instead of leaving the packet path as it is. */
  readonly purge?: boolean;
  /** With the user-space engine: take down what a kernel engine of this instance left at work, instead of refusing to start beside it. */
  readonly removeKernelEngine?: boolean;
}

/**
 * Runs a host agent on this machine until `signal` aborts; then stops it, and the kernel goes on forwarding. Below the line: everything here
 * touches the system, on a configuration that is known to be right.
 *
 * @throws {AgentError} `WEFT_ERR_AGENT_UNDERLAY`, `WEFT_ERR_AGENT_STATE`, `WEFT_ERR_AGENT_CONFIG` (another agent of this instance runs);
 *   {WeftError} `WEFT_ERR_IDENTITY_FILE`; what the packet path throws when it can't start. Not for an absent NATS: that is waited for.
 */
export async function runAgent(config: AgentConfig, signal: AbortSignal, options: RunAgentOptions = {}): Promise<void> {
  const logger = options.logger ?? pino({ level: config.logLevel, base: { host: config.hostId } }, pino.destination({ fd: 2, sync: true }));
  keepScavengesShort();
  const underlay = inspectUnderlay(config.underlay, config.providerAddress);
  const identity = loadOrCreateIdentity(config.identity, 'host');
  const runFiles = claimRunDirectory(config.runDirectory, config.hostId);
  try {
    const clock = createSystemClock();
    const guardHost = (): void => {
      ensureGuard();
      for (const warning of checkTunnelPort(config.udpPort))
        logger.warn({ reason: warning }, 'the host firewall may close the tunnel port');
    };
    // Not if the last start failed: a gateway whose packet path can't be started must not keep its shards by being started again and again.
    const resumed = runFiles.lastStarted ? resumeEngine(config, underlay.providerAddress, clock.now()) : undefined;
    if (resumed === undefined) guardHost();
    const datapath = resumed ?? startEngine(config, underlay.providerAddress, logger, undefined, options.removeKernelEngine);
    const bus = connectBus(busInit(config, identity, logger));
    const agent = createHostAgent(
      {
        bus,
        trust: new TrustStore(config.trust),
        identity,
        datapath,
        devices: systemDevices,
        clock,
        random: Math.random,
        logger,
        ...(resumed !== undefined && {
          startDatapath: () => {
            guardHost();
            resumed.start();
          },
        }),
      },
      {
        hostId: config.hostId,
        providerAddress: underlay.providerAddress,
        engine: datapath.engine,
        underlayMtu: config.underlayMtu ?? underlay.mtu,
        bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
        version: AGENT_VERSION,
        stateDirectory: config.stateDirectory,
        acceptNewStore: config.acceptNewStore,
        reservedDevices: [config.underlay, config.tunnelDevice ?? DEFAULT_TUNNEL_DEVICE],
        lingerMs: config.lingerSeconds * 1_000,
      },
      config.roles,
    );
    try {
      await agent.start();
      runFiles.started();
      logger.info(
        { publicKey: identity.publicKey, underlay: config.underlay, pa: underlay.providerAddress, engine: datapath.engine },
        'weft agent runs',
      );
      await aborted(signal);
    } finally {
      await agent.stop({ purge: options.purge ?? false });
      await bus.close();
    }
  } finally {
    runFiles.remove();
  }
}

function busInit(config: AgentConfig, identity: Identity, logger: AgentLogger): BusInit {
  const { natsCaFile: caFile, natsCertFile: certFile, natsKeyFile: keyFile } = config;
  const tls = {
    ...(caFile !== undefined && { caFile }),
    ...(certFile !== undefined && { certFile }),
    ...(keyFile !== undefined && { keyFile }),
  };
  return {
    servers: config.nats,
    name: `weft-agent ${config.hostId}`,
    logger,
    ...(config.natsAuthentication === 'nkey' && { authentication: { kind: 'nkey' as const, identity } }),
    ...(Object.keys(tls).length > 0 && { tls }),
  };
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
