import { createKernelDatapath, createUserDatapath, type Datapath } from '@weft/datapath';
import { parseIp } from '@weft/packet';
import type { AgentLogger } from './components.ts';
import type { AgentConfig } from './config.ts';
import { messageOf } from './errors.ts';

/**
 * Starts the packet path that the configuration asks for. `auto` takes the kernel's and, where the machine refuses it, the user-space engine,
 * and says so aloud: that one is slow and ends with the process.
 * @throws What the engine throws.
 */
export function startEngine(config: AgentConfig, providerAddress: string, logger: AgentLogger): Datapath {
  const options = {
    instance: config.instance,
    pa: parseIp(providerAddress),
    underlayInterface: config.underlay,
    udpPort: config.udpPort,
  };
  if (config.engine === 'user') return createUserDatapath({ ...options, logger });
  const { tunnelDevice, maxMappings } = config;
  try {
    return createKernelDatapath({
      ...options,
      ...(tunnelDevice !== undefined && { tunnelDevice }),
      ...(maxMappings !== undefined && { maxEntries: { lookup: maxMappings, l2: maxMappings } }),
    });
  } catch (error) {
    if (config.engine === 'kernel') throw error;
    logger.warn(
      { reason: messageOf(error) },
      'the kernel engine does not start here: user-space engine, slow, and forwarding ends with this process',
    );
    return createUserDatapath({ ...options, logger });
  }
}
