import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { CommandError, TestkitError, TestkitErrorCode } from '../core/errors.ts';
import { type ManagedProcess, spawnIn } from '../core/managed-process.ts';
import type { Registry } from '../core/registry.ts';
import type { RunResult } from '../core/run.ts';
import { sleep, waitFor } from '../core/wait.ts';
import { checkDeviceName } from '../net/ip.ts';
import type { Endpoint, ExecOptions } from '../net/netns.ts';
import type { VmNicInit } from '../vm/vm-netns.ts';
import { GuestControl, shellQuote } from './control-channel.ts';
import type { CpioEntry } from './cpio.ts';
import { findGuestKernel, type GuestKernel } from './guest-kernel.ts';
import { baseInitramfs, writeInitramfs } from './initramfs.ts';

export interface QemuVmInit extends VmNicInit {
  readonly name: string;
  /** TAP device in the host's namespace, made by its owner (the agent); QEMU opens it by name. */
  readonly tap: string;
  /** Namespace of the host that the guest runs on. */
  readonly hostNetns?: string;
  /** The guest's own directory: initramfs, sockets, console log. Made if absent; its path is at most 80 long, as sockets lie in it. */
  readonly dir: string;
  /** Where the shared part of the initramfs is kept between runs. */
  readonly cacheDir: string;
  readonly registry?: Registry;
  /** Default: `findGuestKernel()`. */
  readonly kernel?: GuestKernel;
  /** Default 128. */
  readonly memoryMiB?: number;
  /** Files put into the guest, by absolute path. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
  /** Lets the guest run on when this process ends; `QemuVm.attach` finds it again. */
  readonly outlive?: boolean;
  /** For boot, in ms. Default 60,000: an emulated CPU on a busy machine is slow. */
  readonly deadlineMs?: number;
}

/** Where a running guest is found again. */
export interface QemuVmPlace extends VmNicInit {
  readonly name: string;
  readonly dir: string;
}

/**
 * A real guest: Debian's cloud kernel with busybox, emulated by QEMU (`-accel tcg`; never KVM, which hangs where it is nested badly), one
 * virtio NIC on a TAP. Boots in about 2 seconds.
 */
export class QemuVm implements Endpoint, AsyncDisposable {
  readonly name: string;
  readonly busybox: true = true;
  readonly dir: string;
  readonly nic: VmNicInit;
  readonly #process: ManagedProcess | undefined;
  #control: GuestControl | undefined;

  private constructor(place: QemuVmPlace, child: ManagedProcess | undefined) {
    this.name = place.name;
    this.dir = place.dir;
    this.nic = place;
    this.#process = child;
  }

  /**
   * Boots a guest and returns once it runs commands, with its NIC configured.
   *
   * @throws {TestkitError} `WEFT_ERR_TESTKIT_GUEST` when QEMU ends (no such TAP, TAP in use) or the guest's set-up fails; `…_MISSING` when QEMU,
   *   kernel or busybox is absent.
   * @throws {DeadlineError} When it doesn't answer in time, with the end of its console.
   */
  static async start(init: QemuVmInit): Promise<QemuVm> {
    checkDeviceName(init.tap);
    if (init.dir.length > 80) throw new RangeError(`Cannot keep guest "${init.name}" in ${init.dir}: the path must be at most 80 long`);
    mkdirSync(init.dir, { recursive: true });
    const kernel = init.kernel ?? findGuestKernel();
    const initramfs = join(init.dir, 'initramfs.cpio');
    writeInitramfs(await baseInitramfs(kernel, init.cacheDir), overlay(init), initramfs);
    const child = await spawnIn(init.hostNetns, qemuArgv(init, kernel.image, initramfs), {
      logFile: join(init.dir, 'qemu.log'),
      what: `guest ${init.name}`,
      ...(init.registry === undefined ? {} : { registry: init.registry }),
      ...(init.outlive === undefined ? {} : { outlive: init.outlive }),
    });
    const vm = new QemuVm(init, child);
    try {
      await vm.#boot(init.deadlineMs ?? 60_000);
      return vm;
    } catch (error) {
      await vm.stop();
      throw error;
    }
  }

  /** Connects to a guest that another process booted. @throws When it isn't there (`ENOENT`, `ECONNREFUSED`). */
  static async attach(place: QemuVmPlace): Promise<QemuVm> {
    const vm = new QemuVm(place, undefined);
    vm.#control = await GuestControl.open(place.name, join(place.dir, 'control.sock'));
    return vm;
  }

  get process(): ManagedProcess | undefined {
    return this.#process;
  }

  /** First address of the family, without prefix length. @throws {RangeError} When it has none. */
  address(family: 4 | 6 = 4): string {
    const found = this.nic.addresses.find((address) => address.includes(':') === (family === 6));
    if (found === undefined) throw new RangeError(`Guest "${this.name}" has no IPv${family} address`);
    return found.split('/')[0]!;
  }

  /** Runs a command of busybox's in the guest. @throws {CommandError} As `run` does. */
  exec(argv: readonly string[], options: ExecOptions = {}): Promise<RunResult> {
    if (this.#control === undefined) throw new TestkitError(TestkitErrorCode.Guest, `Guest "${this.name}" has been left or stopped`);
    return this.#control.exec(argv, options);
  }

  /** What the guest wrote to its console. */
  consoleText(): string {
    const file = join(this.dir, 'console.log');
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  }

  /** Lets go of the guest without stopping it, for another process to attach. */
  detach(): void {
    this.#control?.close();
    this.#control = undefined;
  }

  /** Ends the guest, as pulling its plug would; it has no disk to harm. */
  async stop(): Promise<void> {
    this.detach();
    if (this.#process !== undefined) {
      await this.#process.stop(2_000);
      return;
    }
    await quitByQmp(join(this.dir, 'qmp.sock'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #boot(deadlineMs: number): Promise<void> {
    const child = this.#process!;
    const started = performance.now();
    const ended = async (): Promise<TestkitError> => {
      const exit = await child.exited;
      return new TestkitError(
        TestkitErrorCode.Guest,
        `Guest "${this.name}": QEMU ended (${exit.signal ?? exit.code}): ${child.lastLines(5).join(' | ')} ${lastLines(this.consoleText())}`,
      );
    };
    const socket = join(this.dir, 'control.sock');
    const connected = await waitFor(
      async () => (child.alive ? { control: await GuestControl.open(this.name, socket) } : { control: undefined }),
      { what: `QEMU to open ${socket}`, deadlineMs },
    );
    if (connected.control === undefined) throw await ended();
    this.#control = connected.control;
    // QEMU keeps the request until the guest opens its end of the port.
    const first = this.#control.exec(['cat', '/run/weft/setup.status', '/run/weft/setup.log'], { timeoutMs: deadlineMs });
    const outcome = await Promise.race([first.catch((error: Error) => error), child.exited.then(() => undefined)]);
    if (outcome === undefined) throw await ended();
    if (outcome instanceof Error) {
      // A QEMU that gives up closes its sockets a moment before it ends; its own words are the better error.
      if (!(outcome instanceof CommandError)) await Promise.race([child.exited, sleep(1_000)]);
      if (!child.alive) throw await ended();
      const late = outcome instanceof CommandError && outcome.timedOut;
      const took = Math.round(performance.now() - started);
      throw new TestkitError(
        TestkitErrorCode.Guest,
        `Guest "${this.name}" ${late ? `did not answer in ${took} ms` : `failed: ${outcome.message}`}; end of its console: ${lastLines(this.consoleText())}`,
        { cause: outcome },
      );
    }
    const [status, ...log] = outcome.stdout.split('\n');
    if (status !== '0') {
      throw new TestkitError(TestkitErrorCode.Guest, `Guest "${this.name}" could not be set up (${status}): ${log.join(' | ')}`);
    }
  }
}

function qemuArgv(init: QemuVmInit, kernelImage: string, initramfs: string): string[] {
  const append = [
    // The console goes to a file, for diagnosis; a panic ends QEMU rather than hanging the test.
    ...['console=ttyS0', 'quiet', 'panic=-1'],
    // What an emulated CPU in a test can do without.
    ...[
      'mitigations=off',
      'nokaslr',
      'no_timer_check',
      'tsc=reliable',
      'random.trust_cpu=on',
      'cryptomgr.notests',
      'audit=0',
      'selinux=0',
      'apparmor=0',
    ],
  ];
  return [
    'qemu-system-x86_64',
    ...['-name', init.name],
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
    ...['-machine', 'pc,graphics=off', '-accel', 'tcg', '-cpu', 'max', '-smp', '1', '-m', String(init.memoryMiB ?? 128)],
    ...['-kernel', kernelImage, '-initrd', initramfs, '-append', append.join(' ')],
    ...['-serial', `file:${join(init.dir, 'console.log')}`],
    ...['-chardev', `socket,id=control,path=${join(init.dir, 'control.sock')},server=on,wait=off`],
    ...['-device', 'virtio-serial-pci', '-device', 'virtserialport,chardev=control,name=weft.control.0'],
    ...['-qmp', `unix:${join(init.dir, 'qmp.sock')},server=on,wait=off`],
    ...['-netdev', `tap,id=net0,ifname=${init.tap},script=no,downscript=no,vhost=off`],
    // No boot ROM: the guest never boots from the network.
    ...['-device', `virtio-net-pci,netdev=net0,mac=${init.mac},romfile=`],
  ];
}

/** The guest's own files: its set-up as a script, and what the caller adds. */
function overlay(init: QemuVmInit): CpioEntry[] {
  const hasIpv6 = init.addresses.some((address) => address.includes(':'));
  const ip = (...words: string[]): string => `ip ${words.map(shellQuote).join(' ')}`;
  const sysctl = (name: string, value: number): string => `echo ${value} > /proc/sys/net/ipv6/conf/eth0/${name}`;
  const setup = [
    'set -e',
    ip('link', 'set', 'lo', 'up'),
    `hostname ${shellQuote(init.name.replaceAll(/[^A-Za-z0-9-]/g, '-'))}`,
    ...(hasIpv6 || init.ipv6LinkLocal === true
      ? [
          sysctl('accept_ra', 0),
          sysctl('autoconf', 0),
          sysctl('accept_dad', 0),
          sysctl('addr_gen_mode', init.ipv6LinkLocal === true ? 0 : 1),
        ]
      : [sysctl('disable_ipv6', 1)]),
    ip('link', 'set', 'eth0', 'mtu', String(init.mtu ?? 1450)),
    ip('link', 'set', 'eth0', 'up'),
    ...init.addresses.map((address) => ip('addr', 'add', address, 'dev', 'eth0')),
    ...(init.gateways ?? []).map((gateway) =>
      gateway.includes(':') ? ip('-6', 'route', 'add', 'default', 'via', gateway) : ip('route', 'add', 'default', 'via', gateway),
    ),
  ];
  const files = Object.entries(init.files ?? {}).map(([path, data]) => ({ path: path.replace(/^\/+/, ''), data: Buffer.from(data) }));
  const dirs = new Set<string>();
  for (const { path } of files) {
    for (let dir = dirname(path); dir !== '.'; dir = dirname(dir)) dirs.add(dir);
  }
  return [
    { kind: 'file', path: 'etc/weft/setup', data: Buffer.from(`${setup.join('\n')}\n`) },
    ...[...dirs].sort().map((path) => ({ kind: 'dir', path }) as const),
    ...files.map(({ path, data }) => ({ kind: 'file', path, data, executable: true }) as const),
  ];
}

/** Asks a QEMU that another process started to end. One that is gone already is as good. */
async function quitByQmp(path: string): Promise<void> {
  const socket = connect({ path });
  await new Promise<void>((resolve) => {
    socket.on('connect', () => socket.write('{"execute":"qmp_capabilities"}\n{"execute":"quit"}\n'));
    // QEMU closes the connection as it ends.
    socket.on('data', () => {});
    socket.on('close', () => resolve());
    socket.on('error', () => resolve());
    socket.setTimeout(5_000, () => socket.destroy());
  });
}

function lastLines(text: string): string {
  return text.trim().split('\n').slice(-10).join(' | ');
}
