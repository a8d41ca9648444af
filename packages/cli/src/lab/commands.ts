import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Lab, LabVm, type LabVmNote, parseLabFile } from '@weft/lab';
import {
  cleanDeadTestRuns,
  cleanLab,
  isProcessAlive,
  type LabRecord,
  labNames,
  listLabs,
  openExternalNetwork,
  Registry,
  readLabNote,
  readLabRecords,
  withCleanup,
} from '@weft/testkit';
import type { Command } from 'commander';
import { type Deps, examples } from '../commands/deps.ts';
import { CliError, CliErrorCode } from '../core/errors.ts';
import { readText } from '../core/files.ts';
import { labOf } from '../core/settings.ts';
import { toJson } from '../format/output.ts';
import { formatTable } from '../format/table.ts';
import { chooseLab, DEFAULT_LAB_NAME } from './choose-lab.ts';

/** The `weft` command itself, for processes that a lab starts. */
export const weftCommand: readonly string[] = [process.execPath, fileURLToPath(new URL('../../bin/weft.js', import.meta.url))];

/** For what is the same in every lab. */
export const labCacheDir: string = process.env['WEFT_CACHE_DIR'] ?? '/var/cache/weft';

const nameHelp = 'the lab (default: what --lab or WEFT_LAB say, else the only one there is)';

export function registerLabCommands(program: Command, deps: Deps): void {
  const lab = program
    .command('lab')
    .summary('a playground of many hosts on this machine')
    .description(
      'Hosts are network namespaces joined by an underlay, each with a real host agent; VMs are namespaces or QEMU guests on TAP devices. A lab stays up until "weft lab down".',
    )
    .addHelpText(
      'after',
      examples(
        'weft lab up -f lab.yaml',
        'weft lab exec web1 -- ping -c 3 10.0.1.11',
        'weft lab status',
        'weft --lab lab get ports',
        'weft lab down',
      ),
    );

  lab
    .command('up')
    .summary('bring a lab up from a lab file')
    .description(
      'Makes everything the lab file names and leaves it running. The file holds one document of kind Lab and the resources "weft apply" takes.',
    )
    .requiredOption('-f, --file <file>', 'the lab file; - for standard input')
    .option(
      '--name <name>',
      'the lab\'s name (default: what --lab or WEFT_LAB say, else metadata.name of the file, else "lab"); several labs live side by side',
    )
    .addHelpText('after', examples('weft lab up -f docs/examples/lab.yaml', 'weft lab up -f lab.yaml --name second'))
    .action(async (options: { file: string; name?: string }, command: Command) => {
      mustBeRoot();
      await cleanDeadTestRuns();
      const text = options.file === '-' ? await deps.io.readStdin() : readText(options.file, 'the lab file');
      const file = parseLabFile(options.file, text);
      const name = givenName(options, command, deps) ?? file.spec.name ?? DEFAULT_LAB_NAME;
      if (readLabRecords(name) !== undefined) {
        if (readLabNote(name, 'complete') === true) {
          throw new CliError(
            CliErrorCode.AlreadyRunning,
            `Lab "${name}" is up already: "weft lab status --name ${name}" shows it, "weft lab down --name ${name}" ends it; another one needs another --name`,
          );
        }
        deps.io.note(`removing what an interrupted "weft lab up" left of lab "${name}"`);
        await cleanLab(name);
      }
      let done = false;
      await withCleanup(
        async () => {
          // A lab of that name which another "weft lab up" has begun in the meantime is not this one's to remove.
          if (!done && listLabs().some((one) => one.name === name && one.owner.pid === process.pid)) await cleanLab(name);
        },
        async () => {
          const up = await Lab.up(file, {
            name,
            weft: weftCommand,
            keep: true,
            cacheDir: labCacheDir,
            progress: (line) => deps.io.note(`  ${line}`),
          });
          done = true;
          await up.detach();
        },
      );
      deps.io.note(
        `lab "${name}" is up: weft lab exec${name === DEFAULT_LAB_NAME ? '' : ` --name ${name}`} VM -- COMMAND, weft --lab ${name} status, weft lab down --name ${name}`,
      );
    });

  lab
    .command('exec')
    .summary('run a command in a VM')
    .description(
      'Runs a command in a VM of the lab (with --host: on a host; with --outside: behind an external network) and ends with its exit status.',
    )
    .argument('<vm>', 'name of the VM, of a host with --host, of an external network with --outside')
    .argument('<command...>', 'the command and its arguments, after --')
    .option('--name <name>', nameHelp)
    .option('--host', 'on a host instead of a VM')
    .option('--outside', "at an external network's router, where its servers are")
    .addHelpText(
      'after',
      examples('weft lab exec web1 -- ping -c 3 10.0.1.11', 'weft lab exec --host h1 -- tcpdump -ni underlay0 udp port 4789'),
    )
    .action(async (vmName: string, words: string[], options: { name?: string; host?: boolean; outside?: boolean }, command: Command) => {
      mustBeRoot();
      const name = chooseLab(givenName(options, command, deps), labNames());
      const view = viewOf(name);
      if (options.host === true) {
        if (!view.hosts.includes(vmName)) throw noSuch('host', vmName, view.hosts, name);
        deps.setExitCode(enter(`weft-${name}-${vmName}`, words));
        return;
      }
      if (options.outside === true) {
        const outside = openExternalNetwork(name, vmName)?.outside;
        if (outside === undefined) throw noSuch('external network', vmName, view.externalNetworks, name);
        deps.setExitCode(enter(outside.netns, words));
        return;
      }
      const note = view.vms.find((vm) => vm.spec.name === vmName);
      if (note === undefined)
        throw noSuch(
          'VM',
          vmName,
          view.vms.map((vm) => vm.spec.name),
          name,
        );
      if (note.spec.kind === 'netns') {
        deps.setExitCode(enter(`weft-${name}-vm-${vmName}`, words));
        return;
      }
      const vm = new LabVm(note, Registry.open(name)!);
      const result = await vm.exec(words, { timeoutMs: 600_000, allowFailure: true });
      deps.io.out(result.stdout);
      if (result.stderr !== '') deps.io.note(result.stderr.replace(/\n$/, ''));
      deps.setExitCode(result.code);
      await vm.close();
    });

  lab
    .command('status')
    .summary('what a lab is made of, and what of it runs')
    .option('--name <name>', nameHelp)
    .option('--json', 'print JSON')
    .addHelpText('after', examples('weft lab status', 'weft lab status --name second --json'))
    .action((options: { name?: string; json?: boolean }, command: Command) => {
      const view = viewOf(chooseLab(givenName(options, command, deps), labNames()));
      if (options.json === true) deps.io.out(toJson(view));
      else {
        deps.io.out(`lab ${view.name}: ${view.complete ? 'up' : 'not complete'}, ${view.hosts.length} hosts\n\n`);
        deps.io.out(
          formatTable(
            [
              { title: 'VM' },
              { title: 'KIND' },
              { title: 'HOST' },
              { title: 'PORT' },
              { title: 'ADDRESS' },
              { title: 'MAC' },
              { title: 'DEVICE' },
            ],
            view.vms.map((vm) => [vm.spec.name, vm.spec.kind, vm.host, vm.spec.port, vm.nic.addresses.join(' '), vm.nic.mac, vm.device]),
            deps.io,
          ),
        );
        deps.io.out('\n');
        deps.io.out(
          formatTable(
            [{ title: 'PROCESS' }, { title: 'PID', align: 'right' }, { title: 'STATE' }],
            view.processes.map((process) => [
              process.what,
              String(process.pid),
              process.alive ? { text: 'running', tone: 'good' as const } : { text: 'ended', tone: 'bad' as const },
            ]),
            deps.io,
          ),
        );
      }
      if (!view.complete || view.processes.some((process) => !process.alive)) deps.setExitCode(1);
    });

  lab
    .command('list')
    .summary('the labs of this machine')
    .option('--json', 'print JSON')
    .action((options: { json?: boolean }) => {
      const views = labNames().map(viewOf);
      if (options.json === true)
        deps.io.out(toJson(views.map(({ name, complete, hosts, vms }) => ({ name, complete, hosts, vms: vms.length }))));
      else if (views.length === 0) deps.io.out('no labs: weft lab up -f lab.yaml\n');
      else {
        deps.io.out(
          formatTable(
            [{ title: 'LAB' }, { title: 'STATE' }, { title: 'HOSTS', align: 'right' }, { title: 'VMS', align: 'right' }],
            views.map((view) => [view.name, view.complete ? 'up' : 'not complete', String(view.hosts.length), String(view.vms.length)]),
            deps.io,
          ),
        );
      }
    });

  lab
    .command('down')
    .summary('end a lab and remove all that belongs to it')
    .option('--name <name>', nameHelp)
    .option('--all', 'every lab of this machine')
    .addHelpText('after', examples('weft lab down', 'weft lab down --name second', 'weft lab down --all'))
    .action(async (options: { name?: string; all?: boolean }, command: Command) => {
      mustBeRoot();
      for (const name of options.all === true ? labNames() : [chooseLab(givenName(options, command, deps), labNames())]) {
        const result = await cleanLab(name);
        deps.io.note(
          result.found
            ? `lab "${name}" is gone: ${result.processes} processes ended, ${result.namespaces} namespaces removed`
            : `there is no lab "${name}": nothing to do`,
        );
      }
    });
}

/** What a lab's journal says of it. */
interface LabView {
  readonly name: string;
  /** `weft lab up` came to its end. */
  readonly complete: boolean;
  readonly hosts: readonly string[];
  readonly externalNetworks: readonly string[];
  readonly vms: readonly LabVmNote[];
  readonly processes: readonly { readonly what: string; readonly pid: number; readonly alive: boolean }[];
}

/** The lab that `--name`, `--lab` or `WEFT_LAB` name, in this order. */
function givenName(options: { readonly name?: string }, command: Command, deps: Deps): string | undefined {
  return options.name ?? labOf(command.optsWithGlobals(), deps.io);
}

function viewOf(name: string): LabView {
  const records: readonly LabRecord[] | undefined = readLabRecords(name);
  if (records === undefined) {
    const others = labNames();
    throw new CliError(
      CliErrorCode.NotFound,
      `There is no lab "${name}": ${others.length === 0 ? 'none is up; weft lab up -f lab.yaml makes one' : `there are ${others.join(', ')} (--name)`}`,
    );
  }
  const notes = new Map(records.flatMap((record) => (record.kind === 'note' ? [[record.key, record.value]] : [])));
  const spec = notes.get('spec') as { hosts: { name: string }[]; externalNetworks?: { name: string }[] } | undefined;
  return {
    name,
    complete: notes.get('complete') === true,
    hosts: spec?.hosts.map((host) => host.name) ?? [],
    externalNetworks: spec?.externalNetworks?.map((network) => network.name) ?? [],
    vms: [...notes].filter(([key]) => key.startsWith('vm.')).map(([, value]) => value as LabVmNote),
    processes: records.flatMap((record) =>
      record.kind === 'process' && !record.what.startsWith('testkit') && !record.what.startsWith('ip')
        ? [{ what: record.what, pid: record.pid, alive: isProcessAlive(record) }]
        : [],
    ),
  };
}

function enter(netns: string, command: readonly string[]): number {
  const path = `/run/netns/${netns}`;
  if (!existsSync(path))
    throw new CliError(CliErrorCode.NotFound, `Namespace ${netns} is gone: the lab is broken; weft lab down, then up again`);
  const result = spawnSync('nsenter', [`--net=${path}`, '--', ...command], { stdio: 'inherit' });
  if (result.error !== undefined) throw new CliError(CliErrorCode.Process, `Cannot run nsenter: ${result.error.message}`);
  return result.status ?? 1;
}

function noSuch(what: string, name: string, there: readonly string[], lab: string): CliError {
  return new CliError(
    CliErrorCode.NotFound,
    `Lab "${lab}" has no ${what} "${name}": ${there.length === 0 ? 'there is none' : `there are ${there.join(', ')}`}`,
  );
}

function mustBeRoot(): void {
  if (process.getuid?.() !== 0)
    throw new CliError(CliErrorCode.Setting, 'Labs need root: they make network namespaces, TAP devices and BPF programs');
}
