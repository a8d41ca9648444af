import { loadIdentity } from '@weft/bus';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { requireTrust } from '../core/connect.ts';
import { connectionSettings, type GlobalOptions } from '../core/settings.ts';
import { runController } from '../daemons/controller.ts';
import { daemonLogger, logLevels } from '../daemons/logger.ts';
import { type Deps, examples } from './deps.ts';

interface ControllerOptions extends GlobalOptions {
  readonly replicas: '1' | '3';
  readonly logLevel: string;
  readonly natLogDays?: number;
}

/** `--nat-log-days`: how long the NAT log is kept. */
export function natLogDaysOption(): Option {
  return new Option('--nat-log-days <days>', 'keep the NAT log so long (default: as it is; 90 when it is made)').argParser((text) => {
    const days = Number(text);
    if (days > 0 && days <= 36_500) return days;
    throw new InvalidArgumentError('must be days, more than 0 and at most 36500');
  });
}

/** `--log-level`, with `WEFT_LOG_LEVEL`. */
export function logLevelOption(deps: Deps): Option {
  const fromEnvironment = deps.io.env.WEFT_LOG_LEVEL;
  const option = new Option('--log-level <level>', 'what to log, on standard error as JSON (WEFT_LOG_LEVEL)').choices(logLevels);
  return option.default(fromEnvironment !== undefined && logLevels.includes(fromEnvironment) ? fromEnvironment : 'info');
}

export function registerController(program: Command, deps: Deps): void {
  program
    .command('controller')
    .summary('run a controller')
    .description(
      'Runs a controller until SIGTERM: it checks configuration, signs and commits it, and writes the audit stream. It keeps nothing itself; run as many as you like. Needs an identity with the role "controller" ("weft init" makes one).',
    )
    .addOption(new Option('--replicas <count>', 'copies of each record in NATS: 1, or 3 for a cluster').choices(['1', '3']).default('1'))
    .addOption(natLogDaysOption())
    .addOption(logLevelOption(deps))
    .addHelpText(
      'after',
      examples(
        'weft controller --identity /etc/weft/controller.seed',
        'weft controller --nats nats://192.0.2.10:4222 --identity controller.seed --trust UABC…',
      ),
    )
    .action(async (_: object, command: Command) => {
      const options = command.optsWithGlobals<ControllerOptions>();
      const settings = connectionSettings(options, deps.io);
      requireTrust(settings.trust);
      const identity = loadIdentity(settings.identity);
      const config = {
        nats: settings.nats,
        identity,
        trust: settings.trust,
        replicas: options.replicas === '3' ? (3 as const) : (1 as const),
        ...(options.natLogDays === undefined ? {} : { natLogDays: options.natLogDays }),
      };
      await runController(config, daemonLogger('controller', options.logLevel), deps.signal);
    });
}
