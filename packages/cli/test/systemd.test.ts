import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

// systemd-analyze is not everywhere, so the units are read here: their form (systemd.syntax(7)), keys that exist, commands that exist.

const dir = new URL('../../../packaging/systemd/', import.meta.url);
const units = readdirSync(dir).filter((name) => name.endsWith('.service'));

type Unit = Record<string, [key: string, value: string][]>;

/** Sections with their assignments, in order. Throws for a line that is neither. */
function parseUnit(text: string): Unit {
  const unit: Unit = {};
  let section: [string, string][] | undefined;
  for (const [index, line] of text.split('\n').entries()) {
    if (line === '' || /^[#;]/.test(line)) continue;
    const header = /^\[(\w+)\]$/.exec(line);
    const assignment = /^(\w+)=(.*)$/.exec(line);
    if (header !== null) unit[header[1]!] = section = [];
    else if (assignment !== null && section !== undefined) section.push([assignment[1]!, assignment[2]!]);
    else throw new Error(`line ${index + 1}: "${line}" is neither section nor assignment`);
  }
  return unit;
}

/** Keys in use, from systemd.unit(5), systemd.service(5), systemd.exec(5), systemd.kill(5) and systemd.resource-control(5). */
const known: Record<string, readonly string[]> = {
  Unit: ['Description', 'Documentation', 'After', 'Wants', 'Conflicts', 'Requires'],
  Service: [
    ...['Type', 'ExecStart', 'ExecStartPre', 'Restart', 'RestartSec', 'TimeoutStopSec', 'KillMode', 'EnvironmentFile'],
    ...[
      'StateDirectory',
      'StateDirectoryMode',
      'RuntimeDirectory',
      'RuntimeDirectoryPreserve',
      'UMask',
      'LimitMEMLOCK',
      'LimitNOFILE',
      'OOMScoreAdjust',
    ],
    ...['CapabilityBoundingSet', 'AmbientCapabilities', 'NoNewPrivileges', 'DynamicUser', 'LoadCredential', 'LockPersonality'],
    ...['ProtectSystem', 'ProtectHome', 'PrivateTmp', 'PrivateDevices', 'ProtectClock', 'ProtectHostname', 'ProtectKernelTunables'],
    ...['ProtectKernelModules', 'ProtectKernelLogs', 'ProtectControlGroups', 'RestrictNamespaces', 'RestrictRealtime', 'RestrictSUIDSGID'],
    ...['RestrictAddressFamilies', 'SystemCallFilter', 'SystemCallArchitectures'],
  ],
  Install: ['WantedBy'],
};

describe.each(units)('%s', (name) => {
  const unit = parseUnit(readFileSync(new URL(name, dir), 'utf8'));
  const all = (key: string): string[] => (unit.Service ?? []).filter(([k]) => k === key).map(([, value]) => value);

  it('has the three sections and only keys that systemd knows', () => {
    expect(Object.keys(unit)).toEqual(['Unit', 'Service', 'Install']);
    for (const [section, assignments] of Object.entries(unit)) for (const [key] of assignments) expect(known[section]).toContain(key);
  });

  it('starts weft by absolute path, always again, and wants the network first', () => {
    expect(all('ExecStart')).toHaveLength(1);
    expect(all('ExecStart')[0]).toMatch(/^\/usr\/bin\/weft (agent|controller|up)\b/);
    expect(all('Restart')).toEqual(['always']);
    expect(Object.fromEntries(unit.Unit!).After).toBe('network-online.target');
  });

  it('does not hide what must outlive it: no mount namespace where TAP devices and pins are made', () => {
    if (/weft controller/.test(all('ExecStart')[0]!)) return;
    for (const key of [
      'ProtectSystem',
      'ProtectHome',
      'PrivateTmp',
      'PrivateDevices',
      'ProtectClock',
      'ProtectKernelTunables',
      'ProtectKernelLogs',
    ])
      expect(all(key)).toEqual([]);
    expect(all('RuntimeDirectoryPreserve')).toEqual(['yes']);
    expect(all('LimitMEMLOCK')).toEqual(['infinity']);
  });
});

describe('parseUnit()', () => {
  it('refuses what is no unit', () => {
    expect(() => parseUnit('[Unit]\nnonsense')).toThrow('line 2');
    expect(() => parseUnit('Key=before any section')).toThrow('line 1');
  });

  it('finds the units that are shipped', () =>
    expect(units.sort()).toEqual(['weft-agent.service', 'weft-controller.service', 'weft-up.service']));
});
