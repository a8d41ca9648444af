import { setTimeout as sleep } from 'node:timers/promises';
import { type DropCounter, dropReasonName, dropReasonTexts, type Port } from '@weft/model';
import { describeFrame, ETHER_TYPE, getU16 } from '@weft/packet';
import type { Command } from 'commander';
import { CliError, CliErrorCode, ExitCode } from '../core/errors.ts';
import type { Session } from '../core/session.ts';
import { toJson } from '../format/output.ts';
import { formatBytes, formatCount, formatDuration } from '../format/quantity.ts';
import { paint } from '../format/style.ts';
import { formatTable } from '../format/table.ts';
import { type Catalog, portName, readCatalog, requirePort } from '../resources/catalog.ts';
import { parseReference } from '../resources/reference.ts';
import { type Deps, examples, withSession } from './deps.ts';
import { askHosts, listHosts } from './hosts-asked.ts';

/** A counter with what its numbers mean. */
export interface Drop {
  readonly host: string;
  readonly device: string;
  /** Name of the port, empty for the underlay. */
  readonly port: string;
  readonly vsid: number;
  readonly reason: string;
  readonly what: string;
  readonly operator: string;
  readonly packets: number;
  readonly bytes: number;
  readonly lastMsAgo: number;
  /** The last frame's beginning, described; empty when none was kept. */
  readonly sample: string;
  readonly sampleHex: string;
}

/** Names what a host counted. */
export function explainDrop(host: string, counter: DropCounter, ports: readonly Port[]): Drop {
  const { device, vsid, packets, bytes, lastMsAgo, sample, portId, reason } = counter;
  const port = ports.find((candidate) => candidate.id === portId);
  const text = dropReasonTexts.get(reason);
  return {
    host,
    device,
    port: port === undefined ? portId : portName(port),
    vsid,
    reason: dropReasonName(reason),
    what: text?.what ?? 'A reason that this program does not know: the agent is of a newer version.',
    operator: text?.operator ?? 'Upgrade this program.',
    packets,
    bytes,
    lastMsAgo,
    sample: sample.length === 0 ? '' : describeHead(sample),
    sampleHex: Buffer.from(sample).toString('hex'),
  };
}

/** The datapath keeps this much of a frame (`WEFT_SAMPLE_LEN`). */
const SAMPLE_BYTES = 64;

/**
 * Describes a sample. One that is full ends because it was cut, not because the sender cut it: it is filled up with zeros to the length its IP
 * header gives, or the description would stop at a frame "truncated". Of a frame in a tunnel the MACs are all that is in the head.
 */
function describeHead(sample: Uint8Array): string {
  if (sample.length < SAMPLE_BYTES) return describeFrame(sample);
  const type = getU16(sample, 12);
  const length = type === ETHER_TYPE.ipv4 ? 14 + getU16(sample, 16) : type === ETHER_TYPE.ipv6 ? 54 + getU16(sample, 18) : 0;
  const frame = new Uint8Array(Math.max(length, sample.length));
  frame.set(sample);
  return describeFrame(frame).replace(/( \| \S+ > [^\s,]+), .*$/, '$1, …');
}

/** A table of drops, most frequent first, and below it what each reason means and its latest frame. */
export function formatDrops(drops: readonly Drop[], options: { readonly width: number | undefined; readonly color: boolean }): string {
  const sorted = [...drops].sort((a, b) => b.packets - a.packets);
  const table = formatTable(
    [
      { title: 'HOST' },
      { title: 'PORT', flexible: true },
      { title: 'DEVICE' },
      { title: 'VSID', align: 'right' },
      { title: 'REASON' },
      { title: 'PACKETS', align: 'right' },
      { title: 'BYTES', align: 'right' },
      { title: 'LAST', align: 'right' },
    ],
    sorted.map((drop) => [
      drop.host,
      drop.port === '' ? { text: '(underlay)', tone: 'dim' } : drop.port,
      drop.device,
      drop.vsid === 0 ? '' : String(drop.vsid),
      drop.reason,
      formatCount(drop.packets),
      formatBytes(drop.bytes),
      `${formatDuration(drop.lastMsAgo)} ago`,
    ]),
    options,
  );
  const reasons = [...new Map(sorted.map((drop) => [drop.reason, drop])).values()];
  const texts = reasons.map((first) => {
    const latest = sorted.filter((drop) => drop.reason === first.reason && drop.sample !== '').sort((a, b) => a.lastMsAgo - b.lastMsAgo)[0];
    const sample = latest === undefined ? '' : `\n  last frame: ${latest.sample}`;
    return `${paint(first.reason, 'strong', options.color)}: ${first.what}\n  what to do: ${first.operator}${sample}\n`;
  });
  return `${table}\n${texts.join('')}`;
}

interface DropsOptions {
  readonly host?: string;
  readonly port?: string;
  readonly tenant?: string;
  readonly network?: string;
  readonly watch?: boolean;
  readonly json?: boolean;
}

/** What was counted since the reading before: for `--watch`. Counters that have fallen (a new program) count from zero. */
export function dropsSince(before: ReadonlyMap<string, number>, drops: readonly Drop[]): Drop[] {
  return drops.flatMap((drop) => {
    const earlier = before.get(dropKey(drop)) ?? 0;
    const packets = drop.packets >= earlier ? drop.packets - earlier : drop.packets;
    return packets === 0 ? [] : [{ ...drop, packets }];
  });
}

export function dropKey(drop: Drop): string {
  return `${drop.host} ${drop.device} ${drop.vsid} ${drop.reason}`;
}

async function readDrops(session: Session, catalog: Catalog, options: DropsOptions): Promise<{ drops: Drop[]; silent: string[] }> {
  const port = options.port === undefined ? undefined : requirePort(catalog, parseReference('Port', options.port, options));
  const hosts = await listHosts(session, options.host);
  const answers = await askHosts(session, hosts, { kind: 'drops', value: {} }, 'drops');
  const ports = catalog.ports.map(({ value }) => value);
  return {
    drops: answers.flatMap((answer) =>
      answer.ok
        ? answer.result.counters
            .filter((counter) => port === undefined || counter.portId === port.id)
            .map((counter) => explainDrop(answer.host.id, counter, ports))
        : [],
    ),
    silent: answers.flatMap((answer) => (answer.ok ? [] : [`${answer.host.id}: no answer: ${answer.error}`])),
  };
}

const WATCH_INTERVAL_MS = 1_000;

export function registerDrops(program: Command, deps: Deps): void {
  program
    .command('drops')
    .summary('frames dropped, by reason, port and host')
    .description(
      'Shows the counters of dropped frames: each has one named reason, what it means, what to do, and the last frame it was counted for.',
    )
    .option('--host <id>', 'only this host')
    .option('--port <port>', 'only this port (TENANT/NETWORK/PORT)')
    .option('--watch', 'go on and print what is newly dropped, once a second, until Ctrl-C')
    .option('--json', 'print JSON (with --watch one object a line)')
    .addHelpText('after', examples('weft drops', 'weft drops --port coke/net/web1', 'weft drops --host host-a --watch'))
    .action(async (options: DropsOptions, command: Command) => {
      await withSession(deps, command, async (session) => {
        const catalog = await readCatalog(session, ['Port']);
        let { drops, silent } = await readDrops(session, catalog, options);
        for (const line of silent) deps.io.note(line);
        if (options.watch !== true) {
          if (options.json === true) deps.io.out(toJson(drops));
          else if (drops.length === 0) deps.io.note('nothing was dropped');
          else deps.io.out(formatDrops(drops, deps.io));
          if (silent.length > 0) deps.setExitCode(ExitCode.failed);
          return;
        }
        let before = new Map(drops.map((drop) => [dropKey(drop), drop.packets]));
        deps.io.note('watching for newly dropped frames; Ctrl-C ends');
        while (!deps.signal.aborted) {
          await sleep(WATCH_INTERVAL_MS, undefined, { signal: deps.signal }).catch(() => {});
          if (deps.signal.aborted) break;
          ({ drops, silent } = await readDrops(session, catalog, options));
          if (silent.length > 0 && drops.length === 0) throw new CliError(CliErrorCode.Unreachable, silent.join('\n'));
          for (const drop of dropsSince(before, drops)) {
            if (options.json === true) deps.io.out(`${JSON.stringify(drop)}\n`);
            else {
              const where = drop.port === '' ? drop.device : drop.port;
              deps.io.out(
                `${drop.host} ${where} ${drop.reason} +${formatCount(drop.packets)}${drop.sample === '' ? '' : `  ${drop.sample}`}\n`,
              );
            }
          }
          before = new Map(drops.map((drop) => [dropKey(drop), drop.packets]));
        }
      });
    });
}
