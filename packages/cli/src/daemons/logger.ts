import { type Logger, pino } from 'pino';

export const logLevels: readonly string[] = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];

/**
 * A daemon's log: one JSON object a line on standard error, with `role` and what else is always known in each. Written at once, so that a crash's last
 * words are not lost.
 */
export function daemonLogger(role: string, level: string, fields: object = {}): Logger {
  return pino({ level, base: { role, ...fields }, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ fd: 2, sync: true }));
}
