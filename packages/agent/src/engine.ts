import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  createKernelDatapath,
  createUserDatapath,
  type Datapath,
  type KernelDatapathOptions,
  type UserDatapathOptions,
} from '@weft/datapath';
import { parseIp } from '@weft/packet';
import type { AgentLogger } from './components.ts';
import type { AgentConfig } from './config.ts';
import { messageOf } from './errors.ts';

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
 * they would go on forwarding by tables that nobody writes any more.
 * @throws What the engine throws.
 */
export function startEngine(config: AgentConfig, providerAddress: string, logger: AgentLogger, use: Engines = engines): Datapath {
  const options = {
    instance: config.instance,
    pa: parseIp(providerAddress),
    underlayInterface: config.underlay,
    udpPort: config.udpPort,
  };
  if (config.engine === 'user') return use.user({ ...options, logger });
  const { tunnelDevice, maxMappings } = config;
  try {
    return use.kernel({
      ...options,
      ...(tunnelDevice !== undefined && { tunnelDevice }),
      ...(maxMappings !== undefined && { maxEntries: { lookup: maxMappings, l2: maxMappings } }),
    });
  } catch (error) {
    if (config.engine === 'kernel' || hasPrograms(join(use.pins, config.instance))) throw error;
    logger.warn(
      { reason: messageOf(error) },
      'the kernel engine does not start here: user-space engine, slow, and forwarding ends with this process',
    );
    return use.user({ ...options, logger });
  }
}

/** Whether an earlier run of the instance has left programs attached, of whatever layout version. */
function hasPrograms(directory: string): boolean {
  if (!existsSync(directory)) return false;
  return readdirSync(directory).some((version) => readdirSync(join(directory, version)).some((pin) => pin.startsWith('link_')));
}
