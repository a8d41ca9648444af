import { existsSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { BpfError, BpfLink, BpfMap, detachClsact, queryClsact } from '@weft/bpf';
import { deviceIndexes, findDevice } from '../host/devices.ts';
import { removeTunnelDevice } from '../host/tunnel-device.ts';
import { removeTunnelGuard } from '../host/tunnel-guard.ts';
import { CLSACT_PLACE } from './attachments.ts';

// What a kernel engine left at work, seen by who does not load one: programs outlive the process that attached them, of whatever layout
// version. Another engine beside them would deliver each frame twice, by tables of which one set nobody writes any more.

/** Where an instance's kernel engine is looked for. */
export interface KernelEnginePlace {
  readonly instance: string;
  readonly underlayInterface: string;
  readonly tunnelDevice: string;
  /** Folder of all instances' pins. Default /sys/fs/bpf/weft. */
  readonly pins?: string;
}

const PINS = '/sys/fs/bpf/weft';
/** What a program hands on must find no next one: ports first, which are closed towards the host's own stack. */
const ORDER = ['link_from_port_', 'link_from_tunnel_', 'link_from_underlay_'];

/** @returns The programs that are attached: paths of pinned links, or `clsact filter of device N`. Empty if there is no engine at work. */
export function findKernelEngine(place: KernelEnginePlace): string[] {
  const links = layouts(place).flatMap((layout) =>
    pinsOf(layout)
      .filter((pin) => pin.startsWith('link_'))
      .map((pin) => join(layout, pin)),
  );
  return [...links, ...clsactIndexes(place).map((ifindex) => `clsact filter of device ${ifindex}`)];
}

/**
 * Takes a kernel engine down: programs of the ports first, then those of tunnel and underlay, tables, tunnel device. Ports fall silent (the guard
 * of the tenant devices stays). Idempotent; the programs need not load on this kernel.
 */
export function removeKernelEngine(place: KernelEnginePlace): void {
  const filters = clsactIndexes(place);
  const found = layouts(place);
  for (const prefix of ORDER) {
    for (const layout of found) for (const pin of pinsOf(layout)) if (pin.startsWith(prefix)) detachLink(join(layout, pin));
  }
  for (const ifindex of filters) detachClsact(ifindex, 'ingress', CLSACT_PLACE);
  for (const layout of found) {
    for (const pin of pinsOf(layout)) unlinkSync(join(layout, pin));
    rmdirSync(layout);
  }
  const instance = join(place.pins ?? PINS, place.instance);
  if (existsSync(instance)) rmdirSync(instance);
  removeTunnelDevice(place.tunnelDevice);
  removeTunnelGuard(place.tunnelDevice);
}

function detachLink(path: string): void {
  const link = BpfLink.fromPin(path);
  try {
    unlinkSync(path);
    if (link.info().ifindex !== 0) link.detach();
  } finally {
    link.close();
  }
}

function layouts({ instance, pins = PINS }: KernelEnginePlace): string[] {
  const directory = join(pins, instance);
  return existsSync(directory) ? readdirSync(directory).map((version) => join(directory, version)) : [];
}

const pinsOf = (layout: string): string[] => readdirSync(layout);

/** Filters have no pins: they are looked for at the devices that the tables name, and at those of the tunnels. Ports first. */
function clsactIndexes(place: KernelEnginePlace): number[] {
  const ports = layouts(place).flatMap((layout) => portIndexes(join(layout, 'map_port')));
  if (ports.length === 0 && layouts(place).length === 0) return [];
  const ends = [place.tunnelDevice, place.underlayInterface].flatMap((name) => findDevice(name)?.ifindex ?? []);
  const present = deviceIndexes();
  return [...ports, ...ends].filter((ifindex) => present.has(ifindex) && queryClsact(ifindex, 'ingress', CLSACT_PLACE) !== undefined);
}

/** The key of the table `port` is the device's index, in every layout. */
function portIndexes(pin: string): number[] {
  if (!existsSync(pin)) return [];
  try {
    const map = BpfMap.fromPin(pin);
    try {
      return [...map.entries()].map(([key]) => new DataView(key.buffer, key.byteOffset).getUint32(0, true));
    } finally {
      map.close();
    }
  } catch (error) {
    // No BPF here at all, or no map: then there is no filter that goes by it.
    if (error instanceof BpfError) return [];
    throw error;
  }
}
