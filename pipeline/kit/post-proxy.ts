/** Which proxy a request goes through, as curl and Go decide it, and the tunnel that https needs. */
import { request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { BlockList, isIP, type Socket } from 'node:net';

type Env = Readonly<Record<string, string | undefined>>;

/**
 * The proxy for a URL: the configured one, else HTTP_PROXY, HTTPS_PROXY and NO_PROXY (upper or lower case). The
 * environment's proxy is never used for this machine itself.
 */
export function proxyFor(url: URL, configured: string | undefined, env: Env = process.env): URL | undefined {
  if (configured) return new URL(configured);
  const name = url.protocol === 'https:' ? 'HTTPS_PROXY' : 'HTTP_PROXY';
  const value = env[name.toLowerCase()] || env[name];
  if (!value || bypasses(url, env['no_proxy'] || env['NO_PROXY'] || '')) return undefined;
  try {
    return new URL(/^[a-z][a-z0-9+.-]*:\/\//i.test(value) ? value : `http://${value}`);
  } catch {
    return undefined;
  }
}

const hostOf = (url: URL) => url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
const portOf = (url: URL) => url.port || (url.protocol === 'https:' ? '443' : '80');

function bypasses(url: URL, list: string): boolean {
  const host = hostOf(url);
  if (host === 'localhost' || host.endsWith('.localhost') || host === '::1' || /^127\./.test(host)) return true;
  for (const raw of list.split(/[\s,]+/)) {
    let entry = raw.trim().toLowerCase();
    if (entry === '') continue;
    if (entry === '*') return true;
    const cidr = /^(.+)\/(\d+)$/.exec(entry);
    if (cidr) {
      if (inSubnet(host, cidr[1]!, Number(cidr[2]))) return true;
      continue;
    }
    const port = isIP(entry) === 6 ? null : /^(.*):(\d+)$/.exec(entry);
    if (port) {
      if (port[2] !== portOf(url)) continue;
      entry = port[1]!.replace(/^\[|\]$/g, '');
    }
    const domain = entry.replace(/^\*?\./, '');
    if (host === domain && !entry.startsWith('.')) return true;
    if (isIP(host) === 0 && host.endsWith(`.${domain}`)) return true;
  }
  return false;
}

function inSubnet(host: string, net: string, bits: number): boolean {
  const family = isIP(net) === 6 ? 'ipv6' : 'ipv4';
  if (isIP(host) === 0 || isIP(net) === 0 || bits > (family === 'ipv6' ? 128 : 32)) return false;
  const list = new BlockList();
  list.addSubnet(net, bits, family);
  return list.check(host, isIP(host) === 6 ? 'ipv6' : 'ipv4');
}

/** The `Proxy-Authorization` of a proxy whose URL carries a user. */
export function proxyAuthorization(proxy: URL): Record<string, string> {
  if (!proxy.username) return {};
  const user = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
  return { 'proxy-authorization': `Basic ${Buffer.from(user).toString('base64')}` };
}

/** Resolves to a socket that the proxy has connected to `host:port`. */
export function openTunnel(proxy: URL, host: string, port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const authority = `${host.includes(':') ? `[${host}]` : host}:${port}`;
    const request = (proxy.protocol === 'https:' ? httpsRequest : httpRequest)({
      host: hostOf(proxy),
      port: portOf(proxy),
      method: 'CONNECT',
      path: authority,
      headers: { host: authority, ...proxyAuthorization(proxy) },
      agent: false,
      timeout: 30_000,
    });
    request.on('connect', (response, socket, head) => {
      if (response.statusCode === 200) {
        // What the far end said at once came along with the proxy's answer.
        if (head.length > 0) socket.unshift(head);
        return resolve(socket as Socket);
      }
      socket.destroy();
      reject(
        new Error(`the proxy ${proxy.host} refused the tunnel to ${authority} with status ${response.statusCode}`),
      );
    });
    request.on('timeout', () => request.destroy(new Error(`the proxy ${proxy.host} does not answer`)));
    request.on('error', (error) => reject(new Error(`the proxy ${proxy.host} cannot be used`, { cause: error })));
    request.end();
  });
}
