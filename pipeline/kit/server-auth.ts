/** Who may call a server: bearer token or basic authentication, compared in constant time. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { AuthServerConfig } from './server-options.ts';

const digest = (text: string) => createHash('sha256').update(text).digest();

export interface Authorizer {
  /** Whether the value of an Authorization header is one that was configured. */
  allows(header: string | undefined): boolean;
  /** The WWW-Authenticate header of a refusal. */
  readonly challenge: string;
}

/** Undefined when everybody may call. */
export function createAuthorizer(auth: AuthServerConfig | undefined): Authorizer | undefined {
  if (!auth) return undefined;
  // Digests have one length whatever was sent, so that comparing tells nothing about the secret.
  const bearer = auth.bearer_token && digest(auth.bearer_token.reveal());
  const basic = auth.basic && digest(`${auth.basic.username}:${auth.basic.password.reveal()}`);
  return {
    challenge: [bearer && 'Bearer', basic && 'Basic realm="enginelight", charset="UTF-8"'].filter(Boolean).join(', '),
    allows(header) {
      const match = /^\s*([A-Za-z]+)\s+(.*?)\s*$/.exec(header ?? '');
      const scheme = match?.[1]?.toLowerCase();
      const credentials = match?.[2] ?? '';
      if (scheme === 'bearer' && bearer) return timingSafeEqual(digest(credentials), bearer);
      if (scheme === 'basic' && basic) {
        return timingSafeEqual(digest(Buffer.from(credentials, 'base64').toString('utf8')), basic);
      }
      return false;
    },
  };
}
