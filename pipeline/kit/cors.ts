/** Which web pages of other origins may call a server. */
import type { HttpRequest, HttpResponse } from './http-request.ts';
import type { CorsConfig } from './server-options.ts';

export interface Cors {
  /** The answer to a preflight request; undefined if it is none. */
  preflight(request: HttpRequest): HttpResponse | undefined;
  /** What an answer to this request carries. */
  headers(request: HttpRequest): Record<string, string>;
}

/** Undefined when no origin is allowed. */
export function createCors(config: CorsConfig | undefined): Cors | undefined {
  if (!config || config.allowed_origins.length === 0) return undefined;
  const patterns = config.allowed_origins.map((origin) => {
    const parts = origin.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
    return { any: origin === '*', pattern: new RegExp(`^${parts.join('.*')}$`, 'i') };
  });
  const allowedHeaders = ['content-type', 'content-encoding', 'authorization', ...config.allowed_headers].join(', ');

  const originHeaders = (request: HttpRequest): Record<string, string> | undefined => {
    const { origin } = request.headers;
    const matches = origin === undefined ? [] : patterns.filter((p) => p.pattern.test(origin));
    if (origin === undefined || matches.length === 0) return undefined;
    const headers: Record<string, string> = { 'access-control-allow-origin': origin, vary: 'Origin' };
    // A bare * must not let any page use the credentials that a browser holds for this server.
    if (matches.some((p) => !p.any)) headers['access-control-allow-credentials'] = 'true';
    return headers;
  };

  return {
    preflight(request) {
      if (request.method !== 'OPTIONS' || request.headers['access-control-request-method'] === undefined)
        return undefined;
      const headers = originHeaders(request);
      if (!headers) return { status: 204, headers: { vary: 'Origin' } };
      headers['access-control-allow-methods'] = 'GET, POST';
      headers['access-control-allow-headers'] = allowedHeaders;
      if (config.max_age > 0) headers['access-control-max-age'] = String(config.max_age);
      return { status: 204, headers };
    },
    headers(request) {
      const headers = originHeaders(request);
      if (!headers) return { vary: 'Origin' };
      if (config.exposed_headers.length > 0)
        headers['access-control-expose-headers'] = config.exposed_headers.join(', ');
      return headers;
    },
  };
}
