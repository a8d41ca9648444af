import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createIdentity } from '@weft/bus';
import { afterAll, describe, expect, it } from 'vitest';
import { parseListen } from '../src/commands/up.ts';
import { requireTrust } from '../src/core/connect.ts';
import { loadContext, loadLabContext, parseContext, writeContext } from '../src/core/context-file.ts';
import { requireSecret, writeWhole } from '../src/core/files.ts';
import { defaultHostId, parseBundle } from '../src/core/installation.ts';
import { connectionSettings, mergeSettings, splitUrls } from '../src/core/settings.ts';

const dir = mkdtempSync(join(tmpdir(), 'weft-cli-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe('connection settings', () => {
  const home = join(dir, 'home');
  mkdirSync(join(home, '.config/weft'), { recursive: true });
  writeFileSync(join(home, '.config/weft/context.yaml'), 'nats: nats://file:4222\nidentity: /file.seed\ntrust: UFILE\n');
  const env = { HOME: home };

  it('come from flag, then environment, then context file, each on its own', () => {
    expect(mergeSettings({}, { env })).toEqual({ nats: 'nats://file:4222', identity: '/file.seed', trust: 'UFILE' });
    expect(mergeSettings({}, { env: { ...env, WEFT_NATS: 'nats://env:4222' } })).toEqual({
      nats: 'nats://env:4222',
      identity: '/file.seed',
      trust: 'UFILE',
    });
    expect(
      mergeSettings(
        { nats: 'nats://flag:4222', trust: 'UFLAG' },
        { env: { ...env, WEFT_NATS: 'nats://env:4222', WEFT_IDENTITY: '/env.seed' } },
      ),
    ).toEqual({
      nats: 'nats://flag:4222',
      identity: '/env.seed',
      trust: 'UFLAG',
    });
  });

  it('take another context file by flag or environment', () => {
    const other = join(dir, 'other.yaml');
    writeContext(other, { nats: 'nats://other:4222', identity: '/other.seed', trust: 'UOTHER' });
    expect(mergeSettings({ context: other }, { env }).nats).toBe('nats://other:4222');
    expect(mergeSettings({}, { env: { ...env, WEFT_CONTEXT: other } }).trust).toBe('UOTHER');
  });

  it('say what is missing and all the ways to give it', () => {
    const env = { HOME: join(dir, 'empty'), XDG_CONFIG_HOME: join(dir, 'none') };
    const path = join(dir, 'partial.yaml');
    writeContext(path, { nats: 'nats://n:4222' });
    expect(() => connectionSettings({ context: path }, { env })).toThrow(
      /No identity .* given: pass --identity, set WEFT_IDENTITY, or have a context file/,
    );
  });

  it('split and check NATS URLs', () => {
    expect(splitUrls('nats://a:4222, tls://b:4222')).toEqual(['nats://a:4222', 'tls://b:4222']);
    expect(splitUrls('a:4222')).toEqual(['a:4222']);
    for (const bad of ['', 'http://a', 'nats://', 'nats://a/b', 'a b']) expect(() => splitUrls(bad), bad).toThrow(/Cannot use NATS URL/);
  });

  it('refuse a trust anchor that is no public user key', () => {
    expect(() => requireTrust(createIdentity('user').publicKey)).not.toThrow();
    for (const bad of ['', 'UABC', createIdentity('host').publicKey, createIdentity('user').seed()])
      expect(() => requireTrust(bad)).toThrow(/Cannot trust/);
  });
});

describe('context files', () => {
  it('refuse unknown keys, wrong types and what is no YAML, naming the file', () => {
    expect(() => parseContext('natz: x', 'c.yaml')).toThrow(
      'Cannot use context c.yaml: unknown key "natz": must be one of nats, identity, trust, netns',
    );
    expect(() => parseContext('nats: [a]', 'c.yaml')).toThrow(/nats must be text/);
    expect(() => parseContext('- a', 'c.yaml')).toThrow(/must hold keys/);
    expect(() => parseContext('a: b: c', 'c.yaml')).toThrow(/Cannot use context c\.yaml/);
    expect(parseContext('', 'c.yaml')).toEqual({});
  });

  it('of a lab carry the network namespace', () => {
    writeFileSync(
      join(dir, 'demo.context.json'),
      JSON.stringify({ netns: 'weft-demo-ctl', nats: 'nats://10.0.0.1:4222', identity: '/x', trust: 'U' }),
    );
    expect(loadLabContext('demo', dir).netns).toBe('weft-demo-ctl');
    expect(() => loadLabContext('other', dir)).toThrow(/There is no lab "other"/);
    expect(() => loadLabContext('../demo', dir)).toThrow(/Cannot use lab/);
  });

  it('are none when there is no file', () => {
    expect(loadContext(undefined, { XDG_CONFIG_HOME: join(dir, 'nowhere'), HOME: dir }).netns).toBeUndefined();
    expect(() => loadContext(join(dir, 'missing.yaml'), {})).toThrow(/Cannot read the context .*there is no such file/);
  });
});

describe('secrets', () => {
  it('are written with mode 0600 and whole, and refused when others can read them', () => {
    const path = join(dir, 'deep/secret');
    writeWhole(path, 'x', { secret: true });
    expect(statSync(path).mode & 0o777).toBe(0o600);
    writeWhole(path, 'y', { secret: true });
    expect(readFileSync(path, 'utf8')).toBe('y');
    expect(() => requireSecret(path, 'the bundle')).not.toThrow();
    chmodSync(path, 0o644);
    expect(() => requireSecret(path, 'the bundle')).toThrow(/mode 644 lets others read a secret; run "chmod 600/);
  });
});

describe('bundles', () => {
  const good = { version: 1, host: 'host-a', seed: 'SN', trust: 'U', nats: ['nats://n:4222'] };

  it('are read whole or refused with what is wrong', () => {
    expect(parseBundle(JSON.stringify(good), 'b.json')).toEqual(good);
    expect(() => parseBundle('{', 'b.json')).toThrow(/Cannot use bundle b\.json: it is not JSON/);
    expect(() => parseBundle('null', 'b.json')).toThrow(/version/);
    expect(() => parseBundle(JSON.stringify({ ...good, version: 2 }), 'b.json')).toThrow(/"version": 1/);
    expect(() => parseBundle(JSON.stringify({ ...good, seed: undefined }), 'b.json')).toThrow(/"seed" is missing/);
    for (const nats of [[], 'nats://n', [4222]])
      expect(() => parseBundle(JSON.stringify({ ...good, nats }), 'b.json')).toThrow(/"nats" must be a list/);
  });

  it.each([
    ['Web-01.example.org', 'web-01'],
    ['my_host', 'my-host'],
    ['---', 'host'],
    ['', 'host'],
  ])('host id of machine "%s" is %s', (name, id) => expect(defaultHostId(name)).toBe(id));
});

describe('parseListen()', () => {
  it('reads an address with or without port', () => {
    expect(parseListen('192.0.2.10')).toEqual({ host: '192.0.2.10', port: 4222 });
    expect(parseListen('localhost:5222')).toEqual({ host: '127.0.0.1', port: 5222 });
    for (const bad of ['', 'eth0', '192.0.2.10:0', '192.0.2.10:99999']) expect(() => parseListen(bad)).toThrow(/Cannot listen on/);
  });
});
