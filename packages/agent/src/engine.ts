import {
  createKernelDatapath,
  createUserDatapath,
  type Datapath,
  findKernelEngine,
  type KernelDatapath,
  type KernelDatapathOptions,
  removeKernelEngine,
  resumeKernelDatapath,
  type UserDatapathOptions,
} from '@weft/datapath';
import { parseIp } from '@weft/packet';
import type { AgentLogger } from './components.ts';
import { type AgentConfig, DEFAULT_TUNNEL_DEVICE } from './config.ts';
import { AgentError, messageOf } from './errors.ts';

/** The engines there are, and where the kernel's keeps what outlives the agent. */
export interface Engines {
  readonly kernel: (options: KernelDatapathOptions) => Datapath;
  readonly user: (options: UserDatapathOptions) => Datapath;
  readonly pins: string;
}

const engines: Engines = { kernel: createKernelDatapath, user: createUserDatapath, pins: '/sys/fs/bpf/weft' };

/**
 * Starts the packet path that the configuration asks for. `auto` takes the kernel's and, where the machine refuses it, the user-space engine,
 * and says so aloud: that one is slow and ends with the process. But never beside programs of the kernel's engine that are still at work:
 * they would go on forwarding by tables that nobody writes any more, and each frame would be forwarded twice.
 *
 * @param removeKernel With `user`: take such programs down first. A person's decision, since the VMs are cut off until the other engine runs.
 * @throws {AgentError} `WEFT_ERR_AGENT_KERNEL_ENGINE`. What the engine throws.
 */
export function startEngine(
  config: AgentConfig,
  providerAddress: string,
  logger: AgentLogger,
  use: Engines = engines,
  removeKernel = false,
): Datapath {
  const { instance, underlay: underlayInterface, tunnelDevice } = config;
  const options = { instance, pa: parseIp(providerAddress), underlayInterface, udpPort: config.udpPort };
  const place = { instance, underlayInterface, tunnelDevice: tunnelDevice ?? DEFAULT_TUNNEL_DEVICE, pins: use.pins };
  if (config.engine === 'user') {
    const atWork = findKernelEngine(place);
    if (atWork.length > 0 && !removeKernel) throw beside(atWork);
    if (atWork.length > 0) {
      logger.warn(
        { programs: atWork.length },
        'taking the kernel engine down: no VM of this host is reached until the user-space engine runs',
      );
      removeKernelEngine(place);
    }
    return use.user({ ...options, logger });
  }
  try {
    return use.kernel(kernelOptions(config, providerAddress));
  } catch (error) {
    if (config.engine === 'kernel' || findKernelEngine(place).length > 0) throw error;
    logger.warn(
      { reason: messageOf(error) },
      'the kernel engine does not start here: user-space engine, slow, and forwarding ends with this process',
    );
    return use.user({ ...options, logger });
  }
}

/**
 * Takes over the tables of a gateway that a former process left forwarding, before anything that takes long: its leases run out within seconds unless they are renewed, and
 * to start the packet path, on a busy machine, takes as long as that. The caller calls `start` afterwards.
 *
 * @param now Boot clock, ms.
 * @returns Undefined: nothing here forwards for a shard, or tables are not what this version's would be. Then {@link startEngine}.
 */
export function resumeEngine(config: AgentConfig, providerAddress: string, now: number): KernelDatapath | undefined {
  if (config.engine === 'user') return undefined;
  const datapath = resumeKernelDatapath(kernelOptions(config, providerAddress));
  if (datapath === undefined) return undefined;
  const nowBootNs = BigInt(Math.floor(now * 1_000_000));
  const isForwarding = datapath.gateway
    .entries('gateway_shard')
    .some((row) => row.table === 'gateway_shard' && row.value.deadlineBootNs > nowBootNs);
  if (isForwarding) return datapath;
  datapath.close();
  return undefined;
}

function kernelOptions(config: AgentConfig, providerAddress: string): KernelDatapathOptions {
  const { instance, underlay: underlayInterface, udpPort, tunnelDevice, maxMappings, natSessions } = config;
  return {
    ...{ instance, pa: parseIp(providerAddress), underlayInterface, udpPort },
    ...(tunnelDevice !== undefined && { tunnelDevice }),
    ...(natSessions !== undefined && { natSessions }),
    ...(maxMappings !== undefined && { maxEntries: { lookup: maxMappings, l2: maxMappings } }),
  };
}

function beside(atWork: readonly string[]): AgentError {
  const [first, ...others] = atWork;
  const shown = others.length === 0 ? first : `${first} and ${others.length} more`;
  return new AgentError(
    'WEFT_ERR_AGENT_KERNEL_ENGINE',
    `Cannot start the user-space engine: programs of this instance's kernel engine are at work (${shown}), and each frame would be forwarded twice; start with \`weft agent --engine user --remove-kernel-engine\` and your other options to take them down first (VMs are cut off meanwhile), or set engine to kernel or auto`,
    { path: 'engine', value: 'user' },
  );
}
