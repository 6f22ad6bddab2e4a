import { mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { options, resolve, Secret } from '../../../config/schema.ts';
import {
  type ClientOptions,
  checkClientOptions,
  clientOptions,
  credentials,
} from '../../../pipeline/kit/client-options.ts';
import { type ManualClock, manualClock } from '../../../pipeline/kit/clock.ts';
import { fromFiles } from '../../../pipeline/kit/from-files.ts';
import { getter } from '../../../pipeline/kit/get.ts';
import { memoryLogger } from '../../../pipeline/kit/log.ts';
import { clientFromPrometheus } from '../../../pipeline/kit/prometheus-client.ts';
import { authority as createAuthority } from '../../kit/certificates.ts';
import { fakeTarget, page } from '../../kit/targets.ts';

const schema = options(clientOptions);
const config = (value: unknown) => resolve(schema, value) as Partial<ClientOptions>;

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'enginelight-client-'));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Writes as those do who know that others are reading: a new file in the old one's place. */
function replace(path: string, text: string): void {
  writeFileSync(`${path}.new`, text);
  renameSync(`${path}.new`, path);
}

describe('values from files', () => {
  function token(path: string) {
    const clock = manualClock();
    const log = memoryLogger();
    const read = fromFiles('token', [path], ([text]) => text!.toString(), { clock, log });
    return { clock, log, read };
  }

  it('are read again when the file changed, looked at once a second at most', async () => {
    const path = join(folder(), 'token');
    writeFileSync(path, 'one');
    const { clock, log, read } = token(path);
    expect(await read()).toBe('one');
    replace(path, 'two');
    expect(await read()).toBe('one');
    await clock.advance(1000);
    expect(await read()).toBe('two');
    expect(log.records.map((r) => r.message)).toEqual(['Read a changed token.']);
  });

  it('follow a symbolic link that is swapped, as Kubernetes does it', async () => {
    const dir = folder();
    writeFileSync(join(dir, 'v1'), 'one');
    writeFileSync(join(dir, 'v2'), 'two');
    symlinkSync(join(dir, 'v1'), join(dir, 'token'));
    const { clock, read } = token(join(dir, 'token'));
    expect(await read()).toBe('one');
    symlinkSync(join(dir, 'v2'), join(dir, 'next'));
    renameSync(join(dir, 'next'), join(dir, 'token'));
    await clock.advance(1000);
    expect(await read()).toBe('two');
  });

  it('stay as they were while the file is away, which is said once; without a first value the call fails, by name', async () => {
    const path = join(folder(), 'token');
    const { clock, log, read } = token(path);
    await expect(read()).rejects.toThrow(`cannot use token from ${path}: ENOENT`);
    writeFileSync(path, 'one');
    expect(await read()).toBe('one');
    unlinkSync(path);
    for (let i = 0; i < 3; i++) {
      await clock.advance(1000);
      expect(await read()).toBe('one');
    }
    expect(log.records.filter((r) => r.level === 'warn')).toHaveLength(1);
    writeFileSync(path, 'two');
    await clock.advance(1000);
    expect(await read()).toBe('two');
  });
});

describe('credentials', () => {
  const headers = async (value: unknown) =>
    credentials(config(value), { clock: manualClock(), log: memoryLogger() }).headers();

  it('are a bearer token, another scheme, or user and password, given or from a file', async () => {
    const dir = folder();
    writeFileSync(join(dir, 'secret'), 's3cret\n');
    expect(await headers({ authorization: { credentials: 'tok' } })).toEqual({ authorization: 'Bearer tok' });
    expect(await headers({ authorization: { type: 'Token', credentials_file: join(dir, 'secret') } })).toEqual({
      authorization: 'Token s3cret',
    });
    const basic = (text: string) => ({ authorization: `Basic ${Buffer.from(text).toString('base64')}` });
    expect(await headers({ basic_auth: { username: 'ü', password: 'p:w' } })).toEqual(basic('ü:p:w'));
    expect(await headers({ basic_auth: { username: 'u', password_file: join(dir, 'secret') } })).toEqual(
      basic('u:s3cret'),
    );
    expect(await headers({ headers: { 'X-A': 'b' } })).toEqual({ 'x-a': 'b' });
    expect(await headers({})).toEqual({});
    writeFileSync(join(dir, 'two'), 'a\nb\n');
    await expect(headers({ authorization: { credentials_file: join(dir, 'two') } })).rejects.toThrow(
      'more than one line',
    );
  });

  it.each<[unknown, string]>([
    [{ authorization: {} }, 'authorization: set credentials or credentials_file'],
    [
      { authorization: { type: 'basic', credentials: 'x' } },
      'authorization.type: authorization type cannot be set to "basic", use "basic_auth" instead',
    ],
    [
      { authorization: { credentials: 'x', credentials_file: 'y' } },
      'authorization: at most one of authorization credentials & credentials_file must be configured',
    ],
    [
      { authorization: { credentials: 'x' }, basic_auth: {} },
      'basic_auth: at most one of basic_auth & authorization must be configured',
    ],
    [
      { basic_auth: { password: 'x', password_file: 'y' } },
      'basic_auth: at most one of basic_auth password & password_file must be configured',
    ],
    [{ tls: { cert_file: 'x' } }, 'tls.cert_file: a client certificate needs its key: set key_file or key_pem'],
    [{ tls: { key_pem: 'x' } }, 'tls.key_file: a key needs its certificate: set cert_file or cert_pem'],
    [{ tls: { ca_file: 'x', ca_pem: 'y' } }, 'tls.ca_pem: give either ca_file or ca_pem, not both'],
  ])('%j is a mistake', (value, message) => {
    expect(checkClientOptions(config(value)).map((m) => `${m.path.join('.')}: ${m.message}`)).toEqual([message]);
  });
});

describe('TLS', () => {
  async function setUp(clientTls: (dir: string) => Record<string, unknown>, mutual = false) {
    const dir = folder();
    const authority = createAuthority('test authority');
    const server = authority.issue(['engine.test', '127.0.0.1']);
    const t = await fakeTarget(page('a 1\n'), {
      cert: server.cert,
      key: server.key,
      ...(mutual ? { requestCert: true, rejectUnauthorized: true, ca: authority.cert } : {}),
    });
    writeFileSync(join(dir, 'ca.pem'), authority.cert);
    const clock: ManualClock = manualClock();
    const log = memoryLogger();
    const client = getter({ origin: t.url, allow: () => true, client: config({ tls: clientTls(dir) }), clock, log });
    onTestFinished(() => client.close());
    const ask = () => client.get({ path: '/metrics', timeoutMs: 5000, maxBytes: 1000 });
    return { dir, authority, t, clock, log, ask };
  }

  it('trusts the authority it is given and no other', async () => {
    const { ask } = await setUp((dir) => ({ ca_file: join(dir, 'ca.pem') }));
    expect((await ask()).body.toString()).toBe('a 1\n');
    const other = await setUp(() => ({ ca_pem: createAuthority('other').cert }));
    await expect(other.ask()).rejects.toMatchObject({ reason: 'tls' });
    const system = await setUp(() => ({}));
    await expect(system.ask()).rejects.toMatchObject({ reason: 'tls' });
    const careless = await setUp(() => ({ insecure_skip_verify: true }));
    expect((await careless.ask()).body.toString()).toBe('a 1\n');
  });

  it('verifies the name of the host, or the one it is told', async () => {
    const named = await setUp((dir) => ({ ca_file: join(dir, 'ca.pem'), server_name_override: 'engine.test' }));
    expect((await named.ask()).body.toString()).toBe('a 1\n');
    const wrong = await setUp((dir) => ({ ca_file: join(dir, 'ca.pem'), server_name_override: 'other.test' }));
    await expect(wrong.ask()).rejects.toMatchObject({ reason: 'tls' });
  });

  it('shows a client certificate, and a new one when the files change', async () => {
    const s = await setUp(
      (dir) => ({ ca_file: join(dir, 'ca.pem'), cert_file: join(dir, 'cert.pem'), key_file: join(dir, 'key.pem') }),
      true,
    );
    await expect(s.ask()).rejects.toMatchObject({
      reason: 'credentials',
      message: expect.stringContaining('cert.pem'),
    });
    const seen: string[] = [];
    s.t.answer((request, response) => {
      const socket = request.socket as unknown as { getPeerCertificate(): { subject: { CN: string } } };
      seen.push(socket.getPeerCertificate().subject.CN);
      response.end('a 1\n');
    });
    const write = (name: string) => {
      const { cert, key } = s.authority.issue(['client'], { commonName: name });
      replace(join(s.dir, 'key.pem'), key);
      replace(join(s.dir, 'cert.pem'), cert);
    };
    write('one');
    await s.ask();
    await s.ask();
    expect(s.t.connections()).toBe(1);
    write('two');
    await s.clock.advance(1000);
    await s.ask();
    expect(seen).toEqual(['one', 'one', 'two']);
    // Half replaced: the last good pair goes on.
    writeFileSync(join(s.dir, 'cert.pem'), '-----BEGIN CERTIFICATE-----\nMII');
    await s.clock.advance(1000);
    await s.ask();
    expect(seen.at(-1)).toBe('two');
    expect(s.log.records.filter((r) => r.level === 'warn')).toMatchObject([
      { message: 'A changed TLS certificate cannot be used, the last good one stays in use.' },
    ]);
  });

  it('keeps to the versions it is told', async () => {
    const { ask } = await setUp((dir) => ({ ca_file: join(dir, 'ca.pem'), min_version: '1.3' }));
    expect((await ask()).body.toString()).toBe('a 1\n');
    const old = await setUp((dir) => ({ ca_file: join(dir, 'ca.pem'), min_version: '1.0', max_version: '1.1' }));
    await expect(old.ask()).rejects.toMatchObject({ reason: 'tls' });
  });
});

describe("Prometheus' spelling of the same", () => {
  it('becomes ours', () => {
    const key = new Secret('k');
    expect(
      clientFromPrometheus({
        bearer_token_file: '/t',
        proxy_url: 'http://p',
        tls_config: {
          insecure_skip_verify: false,
          ca_file: '/ca',
          cert: 'c',
          key,
          server_name: 's',
          min_version: 'TLS13',
        },
      }),
    ).toMatchObject({
      authorization: { type: 'Bearer', credentials_file: '/t' },
      proxy_url: 'http://p',
      tls: { ca_file: '/ca', cert_pem: 'c', key_pem: key, server_name_override: 's', min_version: '1.3' },
    });
    expect(clientFromPrometheus({})).toEqual({});
  });
});
