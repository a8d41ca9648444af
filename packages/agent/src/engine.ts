import * as datapathPackage from '@weft/datapath';
import { createKernelDatapath, type Datapath } from '@weft/datapath';
import { parseIp } from '@weft/packet';
import type { AgentLogger } from './components.ts';
import type { AgentConfig } from './config.ts';
import { messageOf } from './errors.ts';

interface EngineOptions {
  readonly instance: string;
  readonly pa: Uint8Array;
  readonly underlayInterface: string;
  readonly udpPort: number;
}

/**
 * Starts the packet path that the configuration asks for. `auto` takes the kernel's and, where the machine refuses it, the user-space engine,
 * and says so aloud: that one is slow and ends with the process.
 * @throws What the engine throws.
 */
export function startEngine(config: AgentConfig, providerAddress: string, logger: AgentLogger): Datapath {
  const options: EngineOptions = {
    instance: config.instance,
    pa: parseIp(providerAddress),
    underlayInterface: config.underlay,
    udpPort: config.udpPort,
  };
  if (config.engine === 'user') return startUser(options);
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
    return startUser(options);
  }
}

function startUser(options: EngineOptions): Datapath {
  const create = (datapathPackage as { createUserDatapath?: (options: EngineOptions) => Datapath }).createUserDatapath;
  if (create === undefined) throw new Error('this build has no user-space engine; set "engine" to kernel');
  return create(options);
}
