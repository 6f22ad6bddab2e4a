/** The HTTP client options of Prometheus' own configuration, turned into ours. */
import { type Static, t } from '../../config/schema.ts';
import type { ClientOptions } from './client-options.ts';
import { clientOptions } from './client-options.ts';
import type { TlsClientOptions } from './tls.ts';

const TLS_VERSIONS = ['TLS10', 'TLS11', 'TLS12', 'TLS13'] as const;

const prometheusTls = t.section(
  {
    ca_file: t.optional(t.path({ description: 'Certificate authorities to trust, PEM; re-read when it changes.' })),
    ca: t.optional(t.string({ description: 'Certificate authorities to trust, as PEM text.' })),
    cert_file: t.optional(t.path({ description: 'Client certificate (mTLS), PEM; re-read when it changes.' })),
    cert: t.optional(t.string({ description: 'Client certificate (mTLS), as PEM text.' })),
    key_file: t.optional(t.path({ description: 'Key of the client certificate, PEM; re-read with it.' })),
    key: t.optional(t.secret({ description: 'Key of the client certificate, as PEM text.' })),
    server_name: t.optional(t.string({ description: 'The name to ask for and to verify.' })),
    insecure_skip_verify: t.boolean({ description: 'Accept any certificate. Only for tests.', default: false }),
    min_version: t.optional(
      t.choice(TLS_VERSIONS, { description: 'The oldest TLS version to accept. Default TLS12.' }),
    ),
    max_version: t.optional(t.choice(TLS_VERSIONS, { description: 'The newest TLS version to offer.' })),
  },
  { description: 'TLS.' },
);

/** Spread into whatever takes Prometheus' client options. */
export const prometheusClientOptions = {
  basic_auth: clientOptions.basic_auth,
  authorization: clientOptions.authorization,
  bearer_token: t.optional(t.secret({ description: 'The old spelling of `authorization.credentials`.' })),
  bearer_token_file: t.optional(t.path({ description: 'The old spelling of `authorization.credentials_file`.' })),
  tls_config: t.optional(prometheusTls),
  proxy_url: clientOptions.proxy_url,
  follow_redirects: t.boolean({
    description: 'Accepted. Redirects are followed only on the same origin, to a path that may be asked for.',
    default: true,
  }),
  enable_http2: t.boolean({ description: 'Accepted; HTTP/1.1 is used.', default: true }),
};

export interface PrometheusClient {
  basic_auth?: ClientOptions['basic_auth'];
  authorization?: ClientOptions['authorization'];
  bearer_token?: NonNullable<ClientOptions['authorization']>['credentials'];
  bearer_token_file?: string;
  tls_config?: Static<typeof prometheusTls>;
  proxy_url?: string;
}

const versionOf = (name: (typeof TLS_VERSIONS)[number]) => `1.${name.slice(-1)}` as '1.0' | '1.1' | '1.2' | '1.3';

/** The same, as our own options. */
export function clientFromPrometheus(given: PrometheusClient): Partial<ClientOptions> {
  const out: Partial<ClientOptions> = {};
  if (given.basic_auth) out.basic_auth = given.basic_auth;
  if (given.authorization) out.authorization = given.authorization;
  if (given.bearer_token) out.authorization = { type: 'Bearer', credentials: given.bearer_token };
  if (given.bearer_token_file !== undefined) {
    out.authorization = { type: 'Bearer', credentials_file: given.bearer_token_file };
  }
  if (given.proxy_url !== undefined) out.proxy_url = given.proxy_url;
  const tls = given.tls_config;
  if (tls) {
    const ours: TlsClientOptions = {
      insecure: false,
      insecure_skip_verify: tls.insecure_skip_verify,
      include_system_ca_certs_pool: false,
      min_version: tls.min_version ? versionOf(tls.min_version) : '1.2',
      reload_interval: 1000,
    };
    if (tls.max_version) ours.max_version = versionOf(tls.max_version);
    if (tls.ca_file !== undefined) ours.ca_file = tls.ca_file;
    if (tls.ca !== undefined) ours.ca_pem = tls.ca;
    if (tls.cert_file !== undefined) ours.cert_file = tls.cert_file;
    if (tls.cert !== undefined) ours.cert_pem = tls.cert;
    if (tls.key_file !== undefined) ours.key_file = tls.key_file;
    if (tls.key) ours.key_pem = tls.key;
    if (tls.server_name !== undefined) ours.server_name_override = tls.server_name;
    out.tls = ours;
  }
  return out;
}
