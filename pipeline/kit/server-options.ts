/** The options that every listening component shares: where it listens, TLS, who may call, and its limits. */
import { type Static, t } from '../../config/schema.ts';
import type { ConfigMistake } from '../component.ts';

export const tlsServerOption = t.section(
  {
    cert_file: t.optional(
      t.path({ description: 'PEM file with the certificate (chain). Read again when it changes.' }),
    ),
    key_file: t.optional(t.path({ description: 'PEM file with the private key. Read again when it changes.' })),
    cert_pem: t.optional(t.string({ description: 'The certificate (chain) itself, instead of `cert_file`.' })),
    key_pem: t.optional(t.secret({ description: 'The private key itself, instead of `key_file`.' })),
    client_ca_file: t.optional(
      t.path({
        description:
          'PEM file with the authorities whose client certificates are accepted; setting it makes a client certificate mandatory (mTLS).',
      }),
    ),
    min_version: t.choice(['1.2', '1.3'], { default: '1.2', description: 'The oldest TLS version that is spoken.' }),
    max_version: t.optional(t.choice(['1.2', '1.3'], { description: 'The newest TLS version that is spoken.' })),
    reload_interval: t.duration({
      default: '30s',
      minimum: '1s',
      description: 'How often the files are looked at; a changed certificate is used for new connections.',
    }),
  },
  { description: 'TLS. Off unless written.' },
);
export type TlsServerConfig = Static<typeof tlsServerOption>;

export const authServerOption = t.section(
  {
    bearer_token: t.optional(
      t.secret({
        description: 'Requests must carry `Authorization: Bearer <this>`, or match `basic` if that is set too.',
      }),
    ),
    basic: t.optional(
      t.item(
        {
          username: t.string({ description: 'The user name.', minLength: 1 }),
          password: t.secret({ description: 'The password.' }),
        },
        { description: 'Requests must carry this user name and password (HTTP basic authentication).' },
      ),
    ),
  },
  { description: 'Who may call. Off unless written; a request without it is answered 401 before its body is read.' },
);
export type AuthServerConfig = Static<typeof authServerOption>;

export const corsOption = t.section(
  {
    allowed_origins: t.list(t.string({ description: 'An origin; `*` stands for any characters.' }), {
      default: [],
      description: 'Origins of web pages that may call, such as `https://*.example.com`. Empty: none.',
    }),
    allowed_headers: t.list(t.string({ description: 'A header name.' }), {
      default: [],
      description: 'Request headers that pages may send beside the usual ones.',
    }),
    exposed_headers: t.list(t.string({ description: 'A header name.' }), {
      default: [],
      description: 'Response headers that pages may read.',
    }),
    max_age: t.integer({
      default: 0,
      minimum: 0,
      description: 'Seconds that a browser may remember the answer to a preflight request; 0 leaves it to the browser.',
    }),
  },
  { description: 'Access for web pages of other origins (CORS). Off unless written.' },
);
export type CorsConfig = Static<typeof corsOption>;

/** The options of an HTTP listener; spread them into a component's own. */
export const httpServerOptions = (defaults: { endpoint: string; maxRequestBodySize?: string }) => ({
  endpoint: t.endpoint({
    default: defaults.endpoint,
    description:
      'Address to listen on, `host:port`. Only this machine can reach the default; `0.0.0.0:port` opens it to the network.',
  }),
  tls: t.optional(tlsServerOption),
  auth: t.optional(authServerOption),
  cors: t.optional(corsOption),
  max_request_body_size: t.size({
    default: defaults.maxRequestBodySize ?? '20MiB',
    description: 'Largest request body, before and after decompression; a larger one is answered 413.',
  }),
  read_header_timeout: t.duration({
    default: '30s',
    description: 'How long a client may take from connecting to the end of its request headers.',
  }),
  read_timeout: t.duration({
    default: '60s',
    description: 'How long a client may take to send the body of a request; 0 waits for ever.',
  }),
  write_timeout: t.duration({
    default: '30s',
    description: 'How long a client may take to receive an answer; 0 waits for ever.',
  }),
  idle_timeout: t.duration({
    default: '60s',
    description: 'How long a connection may be kept open without a request.',
  }),
  keep_alives_enabled: t.boolean({
    default: true,
    description: 'Whether a connection may carry several requests.',
  }),
  max_connections: t.integer({
    default: 4096,
    minimum: 0,
    description: 'Connections that may be open at once; further ones are closed. 0 means no limit.',
  }),
  response_headers: t.map(t.string({ description: 'The value.' }), {
    default: {},
    description: 'Headers that are added to every answer.',
  }),
});

/** What `httpServerOptions` gives to code. */
export interface HttpServerConfig {
  readonly endpoint: string;
  readonly tls?: TlsServerConfig;
  readonly auth?: AuthServerConfig;
  readonly cors?: CorsConfig;
  readonly max_request_body_size: number;
  readonly read_header_timeout: number;
  readonly read_timeout: number;
  readonly write_timeout: number;
  readonly idle_timeout: number;
  readonly keep_alives_enabled: boolean;
  readonly max_connections: number;
  readonly response_headers: Readonly<Record<string, string>>;
}

type Path = readonly (string | number)[];

/** Mistakes in `tls` and `auth` that the schema cannot see; `at` is the path of the section that holds them. */
export function serverMistakes(
  config: { readonly tls?: TlsServerConfig; readonly auth?: AuthServerConfig },
  at: Path = [],
): ConfigMistake[] {
  const mistakes: ConfigMistake[] = [];
  const { tls, auth } = config;
  if (tls) {
    for (const part of ['cert', 'key'] as const) {
      const file = tls[`${part}_file`];
      const pem = tls[`${part}_pem`];
      if (file === undefined && pem === undefined) {
        mistakes.push({ path: [...at, 'tls'], message: `a TLS server needs \`${part}_file\` (or \`${part}_pem\`)` });
      }
      if (file !== undefined && pem !== undefined) {
        mistakes.push({
          path: [...at, 'tls', `${part}_pem`],
          message: `give \`${part}_file\` or \`${part}_pem\`, not both`,
        });
      }
    }
    if (tls.max_version !== undefined && tls.max_version < tls.min_version) {
      mistakes.push({ path: [...at, 'tls', 'max_version'], message: '`max_version` is older than `min_version`' });
    }
  }
  if (auth && auth.bearer_token === undefined && auth.basic === undefined) {
    mistakes.push({
      path: [...at, 'auth'],
      message: '`auth` needs `bearer_token` or `basic`; remove it to let everybody in',
    });
  }
  if (auth?.bearer_token !== undefined && auth.bearer_token.reveal() === '') {
    mistakes.push({
      path: [...at, 'auth', 'bearer_token'],
      message: 'the token is empty: nobody could be told from anybody',
    });
  }
  return mistakes;
}
