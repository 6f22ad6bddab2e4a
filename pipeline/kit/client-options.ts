/**
 * The options that every HTTP client of ours shares: TLS, authorization, headers, proxy. TLS and headers are spelt as in
 * the Collector, authorization as in Prometheus. Files are re-read when they change.
 */
import { type Secret, type Static, t } from '../../config/schema.ts';
import type { ConfigMistake } from '../component.ts';
import { type FromFilesOptions, fromFiles } from './from-files.ts';
import { type ClientTls, checkTls, clientTls, tlsClientSection } from './tls.ts';

/** Spread into the `options({…})` of whatever sends requests. */
export const clientOptions = {
  tls: t.optional(tlsClientSection),
  authorization: t.optional(
    t.section(
      {
        type: t.string({ description: 'The scheme, the first word of the header.', default: 'Bearer' }),
        credentials: t.optional(t.secret({ description: 'The token, the second word of the header.' })),
        credentials_file: t.optional(
          t.path({
            description: 'A file that holds the token; re-read when it changes.',
            examples: ['/var/run/secrets/token'],
          }),
        ),
      },
      { description: 'Sends `Authorization: <type> <credentials>`, usually a bearer token.' },
    ),
  ),
  basic_auth: t.optional(
    t.section(
      {
        username: t.optional(t.string({ description: 'User name.' })),
        username_file: t.optional(t.path({ description: 'A file that holds the user name; re-read when it changes.' })),
        password: t.optional(t.secret({ description: 'Password.' })),
        password_file: t.optional(t.path({ description: 'A file that holds the password; re-read when it changes.' })),
      },
      { description: 'Sends `Authorization: Basic …`.' },
    ),
  ),
  headers: t.map(t.secret({ description: 'Value of the header; never shown.' }), {
    description: 'More headers to send with every request.',
    default: {},
  }),
  proxy_url: t.optional(t.url({ description: 'An HTTP proxy to go through.' })),
};

/** What the code gets for `clientOptions`. */
export interface ClientOptions {
  tls?: Static<typeof tlsClientSection>;
  authorization?: { type: string; credentials?: Secret; credentials_file?: string };
  basic_auth?: { username?: string; username_file?: string; password?: Secret; password_file?: string };
  headers: Record<string, Secret>;
  proxy_url?: string;
}

/** Mistakes in these options that the schema cannot see; for a definition's `validate`. `at` is where they are. */
export function checkClientOptions(
  options: Partial<ClientOptions>,
  at: readonly (string | number)[] = [],
): ConfigMistake[] {
  const mistakes: ConfigMistake[] = checkTls(options.tls).map((m) => ({
    path: [...at, 'tls', m.key],
    message: m.message,
  }));
  const { authorization, basic_auth: basic } = options;
  const put = (path: string[], message: string) => mistakes.push({ path: [...at, ...path], message });
  if (authorization) {
    if (authorization.type.trim().toLowerCase() === 'basic') {
      put(['authorization', 'type'], 'authorization type cannot be set to "basic", use "basic_auth" instead');
    }
    if (authorization.credentials && authorization.credentials_file !== undefined) {
      put(['authorization'], 'at most one of authorization credentials & credentials_file must be configured');
    }
    if (!authorization.credentials && authorization.credentials_file === undefined) {
      put(['authorization'], 'set credentials or credentials_file');
    }
  }
  if (basic) {
    if (authorization) put(['basic_auth'], 'at most one of basic_auth & authorization must be configured');
    if (basic.username !== undefined && basic.username_file !== undefined) {
      put(['basic_auth'], 'at most one of basic_auth username & username_file must be configured');
    }
    if (basic.password && basic.password_file !== undefined) {
      put(['basic_auth'], 'at most one of basic_auth password & password_file must be configured');
    }
  }
  return mistakes;
}

export interface Credentials {
  /** Headers of the next request, lower-case names; rejects, naming the file, while a token file was never readable. */
  headers(): Promise<Record<string, string>>;
  /** What the next connection uses; its identity changes exactly when connections must be made anew. */
  tls(): Promise<ClientTls>;
}

const oneLine = (text: string, what: string): string => {
  const trimmed = text.trim();
  if (/[\r\n]/.test(trimmed)) throw new Error(`${what} has more than one line`);
  return trimmed;
};

/** Turns the options into what requests need, re-reading files as they change. */
export function credentials(options: Partial<ClientOptions>, from: FromFilesOptions): Credentials {
  const fixed: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {})) fixed[name.toLowerCase()] = value.reveal();
  const { authorization: auth, basic_auth: basic } = options;
  const value = (file: string | undefined, given: string | undefined, what: string) =>
    file === undefined
      ? async () => given ?? ''
      : fromFiles(what, [file], ([content]) => oneLine(content!.toString('utf8'), what), from);

  let authorize: (() => Promise<string>) | undefined;
  if (auth) {
    const token = value(auth.credentials_file, auth.credentials?.reveal(), 'token');
    authorize = async () => `${auth.type.trim()} ${await token()}`;
  } else if (basic) {
    const user = value(basic.username_file, basic.username, 'user name');
    const password = value(basic.password_file, basic.password?.reveal(), 'password');
    authorize = async () => `Basic ${Buffer.from(`${await user()}:${await password()}`).toString('base64')}`;
  }
  return {
    headers: async () => (authorize ? { ...fixed, authorization: await authorize() } : fixed),
    tls: clientTls(options.tls, from),
  };
}
