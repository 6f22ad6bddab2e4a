/** TLS of a client: its options (the Collector's spelling), and the context made of them, made again when a file changes. */
import { createSecureContext, rootCertificates, type SecureContext, type SecureVersion } from 'node:tls';
import { type Static, t } from '../../config/schema.ts';
import { type FromFilesOptions, fromFiles } from './from-files.ts';

const VERSIONS = ['1.0', '1.1', '1.2', '1.3'] as const;

/** The section `tls` of everything that connects. Missing: the system's certificate authorities, no client certificate. */
export const tlsClientSection = t.section(
  {
    insecure: t.boolean({
      description:
        'Connect without TLS where the address does not say which (gRPC); http and https URLs decide for themselves.',
      default: false,
    }),
    insecure_skip_verify: t.boolean({
      description: 'Accept any certificate. Only for tests: anyone in between can then read and change what is sent.',
      default: false,
    }),
    ca_file: t.optional(
      t.path({ description: 'Certificate authorities to trust, PEM; re-read when the file changes.' }),
    ),
    ca_pem: t.optional(t.string({ description: 'Certificate authorities to trust, as PEM text.' })),
    include_system_ca_certs_pool: t.boolean({
      description: 'Trust the usual public authorities as well as those of `ca_file` or `ca_pem`.',
      default: false,
    }),
    cert_file: t.optional(t.path({ description: 'Client certificate (mTLS), PEM; re-read when the file changes.' })),
    cert_pem: t.optional(t.string({ description: 'Client certificate (mTLS), as PEM text.' })),
    key_file: t.optional(t.path({ description: 'Private key of the client certificate, PEM; re-read with it.' })),
    key_pem: t.optional(t.secret({ description: 'Private key of the client certificate, as PEM text.' })),
    server_name_override: t.optional(
      t.string({ description: "The name to ask for and to verify, where it is not the address's host." }),
    ),
    min_version: t.choice(VERSIONS, { description: 'The oldest TLS version to accept.', default: '1.2' }),
    max_version: t.optional(t.choice(VERSIONS, { description: 'The newest TLS version to offer.' })),
    cipher_suites: t.optional(
      t.list(t.string({ description: "A cipher suite, in OpenSSL's or the IANA spelling." }), {
        description: 'Cipher suites of TLS 1.2 and older that may be used; those of TLS 1.3 are always on.',
      }),
    ),
    curve_preferences: t.optional(
      t.list(t.string({ description: 'A curve: X25519, P256, P384 or P521.' }), {
        description: 'Curves for the key exchange, most wanted first.',
      }),
    ),
    reload_interval: t.duration({
      description: 'How often the files are looked at, at most; a changed one is used for the next connection.',
      default: '1s',
    }),
  },
  { description: 'TLS: whom to trust and who we are.' },
);

export type TlsClientOptions = Static<typeof tlsClientSection>;

/** What a connection needs. One object for as long as nothing changed, so its identity can key a connection pool. */
export interface ClientTls {
  readonly secureContext: SecureContext;
  readonly rejectUnauthorized: boolean;
  /** Name to ask for and verify; absent: the host of the address. */
  readonly servername?: string;
}

const CURVES: Record<string, string> = { P256: 'prime256v1', P384: 'secp384r1', P521: 'secp521r1' };
const version = (v: string): SecureVersion => (v === '1.0' ? 'TLSv1' : (`TLSv${v}` as SecureVersion));

/** Mistakes that the schema cannot see; sentences, with the key they are about. */
export function checkTls(tls: TlsClientOptions | undefined): { key: string; message: string }[] {
  if (!tls) return [];
  const mistakes: { key: string; message: string }[] = [];
  const both = (a: 'ca' | 'cert' | 'key') => {
    if (tls[`${a}_file`] !== undefined && tls[`${a}_pem`] !== undefined) {
      mistakes.push({ key: `${a}_pem`, message: `give either ${a}_file or ${a}_pem, not both` });
    }
  };
  both('ca');
  both('cert');
  both('key');
  const cert = tls.cert_file ?? tls.cert_pem;
  const key = tls.key_file ?? tls.key_pem;
  if (cert !== undefined && key === undefined) {
    mistakes.push({ key: 'cert_file', message: 'a client certificate needs its key: set key_file or key_pem' });
  }
  if (key !== undefined && cert === undefined) {
    mistakes.push({ key: 'key_file', message: 'a key needs its certificate: set cert_file or cert_pem' });
  }
  return mistakes;
}

/**
 * A function that gives the context to connect with. It rejects, naming the file, while a file cannot be used and never
 * could; later a bad file is said once and the last good context stays.
 */
export function clientTls(tls: TlsClientOptions | undefined, options: FromFilesOptions): () => Promise<ClientTls> {
  const rest = (context: SecureContext): ClientTls => ({
    secureContext: context,
    rejectUnauthorized: !(tls?.insecure_skip_verify ?? false),
    ...(tls?.server_name_override ? { servername: tls.server_name_override } : {}),
  });
  const files = [tls?.ca_file, tls?.cert_file, tls?.key_file].filter((f) => f !== undefined);
  const make = (contents: readonly Buffer[]): ClientTls => {
    let next = 0;
    const text = (file: string | undefined, pem: string | undefined) =>
      file === undefined ? pem : contents[next++]!.toString('utf8');
    const ca = text(tls?.ca_file, tls?.ca_pem);
    const cert = text(tls?.cert_file, tls?.cert_pem);
    const key = text(tls?.key_file, tls?.key_pem?.reveal());
    if (ca !== undefined && !ca.includes('-----BEGIN')) throw new Error('there is no PEM certificate in it');
    return rest(
      createSecureContext({
        ...(ca === undefined ? {} : { ca: tls?.include_system_ca_certs_pool ? [ca, ...rootCertificates] : [ca] }),
        ...(cert === undefined ? {} : { cert }),
        ...(key === undefined ? {} : { key }),
        minVersion: version(tls?.min_version ?? '1.2'),
        ...(tls?.max_version ? { maxVersion: version(tls.max_version) } : {}),
        ...(tls?.cipher_suites?.length ? { ciphers: tls.cipher_suites.join(':') } : {}),
        ...(tls?.curve_preferences?.length
          ? { ecdhCurve: tls.curve_preferences.map((c) => CURVES[c] ?? c).join(':') }
          : {}),
      }),
    );
  };
  if (files.length > 0) {
    return fromFiles('TLS certificate', files, make, { ...options, recheckMs: tls?.reload_interval ?? 1000 });
  }
  let made: ClientTls | undefined;
  return async () => {
    made ??= make([]);
    return made;
  };
}
