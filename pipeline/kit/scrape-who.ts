/** From the labels of a discovered target to what is scraped and whom the result is about. */
import type { AnyValue, Attributes } from '../model.ts';
import type { Labels } from '../wire/prometheus/labels.ts';
import type { TargetLabels } from './discovery/discovery.ts';
import type { Relabel } from './relabel.ts';
import { labelsFrom } from './scrape-identity.ts';

export interface WhoOptions {
  readonly job: string;
  readonly scheme: string;
  /** Metrics path of targets that name none. */
  readonly path: string;
  readonly params: Readonly<Record<string, readonly string[]>>;
  /** Port of addresses that have none; absent: they are left as they are. */
  readonly port?: number | undefined;
  readonly relabel: Relabel | undefined;
  /**
   * Where the labels of the target go. `resource`: only into resource attributes, unknown ones under their own name.
   * `points`: onto every point, as in Prometheus, and those with a known meaning also into resource attributes.
   */
  readonly labels: 'resource' | 'points';
  /** Labels that a target gets after relabelling where it has none of that name. */
  readonly defaults?: Readonly<Record<string, string>>;
  /** More attributes of every target. */
  readonly attributes: Attributes;
}

export interface Target {
  /** Equal for equal targets. */
  readonly key: string;
  /** As shown to people: without credentials. */
  readonly url: string;
  readonly origin: string;
  readonly path: string;
  readonly query: string;
  readonly userInfo: { readonly username: string; readonly password: string } | undefined;
  readonly job: string;
  readonly instance: string;
  readonly labels: Labels;
  readonly attributes: Attributes;
}

type Convert = (value: string) => AnyValue;
const text: Convert = (v) => v;
const integer: Convert = (v) => (/^\d{1,9}$/.test(v) ? Number(v) : v);

/** Labels of a target's config that mean something to us. */
const KNOWN: Readonly<Record<string, readonly [string, Convert]>> = {
  replica: ['service.instance.id', text],
  node: ['host.name', text],
  role: ['inference.role', text],
  pool: ['inference.pool', text],
  service: ['service.name', text],
  pod: ['k8s.pod.name', text],
  namespace: ['k8s.namespace.name', text],
  container: ['k8s.container.name', text],
  model: ['gen_ai.request.model', text],
  model_name: ['gen_ai.request.model', text],
  rank: ['inference.rank', integer],
  world_size: ['inference.world_size', integer],
  tp_rank: ['inference.rank.tp', integer],
  pp_rank: ['inference.rank.pp', integer],
  dp_rank: ['inference.rank.dp', integer],
  ep_rank: ['inference.rank.ep', integer],
  gpu_uuid: ['hw.id', text],
  gpu: ['hw.gpu.index', integer],
  pci_bus_id: ['hw.gpu.pci_bus_id', (v) => v.toLowerCase()],
};

const META: Readonly<Record<string, readonly [string, Convert]>> = {
  __meta_kubernetes_namespace: ['k8s.namespace.name', text],
  __meta_kubernetes_pod_name: ['k8s.pod.name', text],
  __meta_kubernetes_pod_uid: ['k8s.pod.uid', text],
  __meta_kubernetes_pod_node_name: ['k8s.node.name', text],
  __meta_kubernetes_pod_container_name: ['k8s.container.name', text],
  __meta_kubernetes_pod_container_id: ['container.id', (v) => v.replace(/^[a-z-]+:\/\//, '')],
};

/** Resource attributes that labels of a target stand for; `others` says what becomes of labels nobody knows. */
export function attributesFromLabels(
  labels: Readonly<Record<string, string>>,
  others: 'keep' | 'drop',
): Record<string, AnyValue> {
  const out: Record<string, AnyValue> = {};
  for (const [name, value] of Object.entries(labels)) {
    if (name.startsWith('__') || value === '' || name === 'job' || name === 'instance') continue;
    const known = Object.hasOwn(KNOWN, name) ? KNOWN[name]! : undefined;
    if (known) out[known[0]] = known[1](value);
    else if (others === 'keep') out[name] = value;
  }
  return out;
}

/** The target that labels describe; a string says why there is none (`dropped` when relabelling wants it so). */
export function targetFrom(discovered: TargetLabels, options: WhoOptions): Target | { readonly wrong: string } {
  const map = new Map<string, string>();
  for (const [name, value] of Object.entries(discovered)) if (value !== '') map.set(name, value);
  const fill = (name: string, value: string) => {
    if (!map.has(name)) map.set(name, value);
  };
  fill('job', options.job);
  fill('__scheme__', options.scheme);
  fill('__metrics_path__', options.path);
  for (const [name, values] of Object.entries(options.params)) fill(`__param_${name}`, values[0] ?? '');
  const own = map.get('__address__') ?? '';
  if (options.port !== undefined && own !== '' && !/:\d+$/.test(own)) map.set('__address__', `${own}:${options.port}`);
  if (options.relabel && !options.relabel(map)) return { wrong: 'dropped' };
  for (const [name, value] of Object.entries(options.defaults ?? {})) fill(name, value);

  const address = map.get('__address__');
  if (!address) return { wrong: 'no address' };
  const scheme = map.get('__scheme__') ?? 'http';
  if (scheme !== 'http' && scheme !== 'https') return { wrong: `invalid scheme "${scheme}"` };
  const userInfoText = map.get('__user_info__');
  if (address.includes('/') || address.includes('@') || !URL.canParse(`${scheme}://${address}`)) {
    return { wrong: `"${address}" is not a valid hostname` };
  }
  const base = new URL(`${scheme}://${address}`);
  const path = map.get('__metrics_path__') || '/metrics';
  const url = new URL(path.startsWith('/') ? path : `/${path}`, base);
  const params = new URLSearchParams(url.search);
  for (const [name, values] of Object.entries(options.params)) for (const v of values.slice(1)) params.append(name, v);
  for (const [name, value] of map) if (name.startsWith('__param_')) params.append(name.slice(8), value);
  const query = params.size > 0 ? `?${params}` : '';

  const visible = Object.fromEntries([...map].filter(([name]) => !name.startsWith('__')));
  const onPoints = options.labels === 'points';
  const attributes: Record<string, AnyValue> = { ...options.attributes };
  for (const [name, value] of map) {
    const meta = Object.hasOwn(META, name) ? META[name]! : undefined;
    if (meta) attributes[meta[0]] = meta[1](value);
  }
  if (attributes['k8s.node.name'] !== undefined) attributes['host.name'] = attributes['k8s.node.name'];
  Object.assign(attributes, attributesFromLabels(visible, onPoints ? 'drop' : 'keep'));

  const job = visible['job'] ?? options.job;
  // Prometheus' instance is the address; ours is the replica, if anybody says which.
  const named = onPoints ? undefined : (attributes['service.instance.id'] ?? attributes['k8s.pod.name']);
  const instance = String(visible['instance'] ?? named ?? address);
  const service = onPoints ? job : (attributes['service.name'] ?? job);
  attributes['service.name'] = service;
  attributes['service.instance.id'] = attributes['service.instance.id'] ?? instance;
  if (onPoints) attributes['service.instance.id'] = instance;
  const host = url.hostname.replace(/^\[|\]$/g, '');
  if (!isThisMachine(host)) attributes['server.address'] = host;
  attributes['server.port'] = Number(url.port || (scheme === 'https' ? 443 : 80));
  attributes['url.scheme'] = scheme;

  const labels = onPoints
    ? labelsFrom(Object.fromEntries(Object.entries(visible).filter(([n]) => n !== 'job' && n !== 'instance')))
    : [];
  const shown = `${url.origin}${url.pathname}${query}`;
  return {
    key: JSON.stringify([shown, userInfoText ?? '', Object.entries(visible).sort(), Object.entries(attributes).sort()]),
    url: shown,
    origin: url.origin,
    path: url.pathname,
    query,
    userInfo: readUserInfo(userInfoText),
    job: String(service),
    instance,
    labels,
    attributes,
  };
}

/** An address that means this machine to everybody says nothing about which machine it is. */
const isThisMachine = (host: string): boolean =>
  host === 'localhost' || host.endsWith('.localhost') || host === '::1' || host === '::' || /^(127|0)\./.test(host);

function readUserInfo(text: string | undefined): Target['userInfo'] {
  if (text === undefined) return undefined;
  const [username = '', ...rest] = text.split(':');
  return { username: decodeURIComponent(username), password: decodeURIComponent(rest.join(':')) };
}

/**
 * The labels of a target that somebody wrote as an address: `http://host:port/path?x=y`, `host:port` or `host`. A string
 * says what is wrong.
 */
export function labelsFromUrl(written: string, labels: Readonly<Record<string, string>> = {}): TargetLabels | string {
  const whole = /^[a-z][a-z0-9+.-]*:\/\//i.test(written) ? written : `http://${written}`;
  if (!URL.canParse(whole)) return `"${written}" is not an address: write http://host:port or host:port`;
  const url = new URL(whole);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    return `"${written}" has the scheme ${url.protocol.slice(0, -1)}; only http and https can be scraped`;
  }
  if (url.hostname === '') return `"${written}" names no host`;
  // Without a scheme a missing port is the engine's own, and :80 is not a missing port.
  const authority = whole.replace(/^[a-z]+:\/\/([^/?#@]*@)?/i, '').split(/[/?#]/)[0]!;
  const port = /:(\d+)$/.exec(authority)?.[1] ?? (whole === written ? (url.protocol === 'https:' ? '443' : '80') : '');
  const out: Record<string, string> = {
    ...labels,
    __address__: port === '' ? url.hostname : `${url.hostname}:${port}`,
    __scheme__: url.protocol.slice(0, -1),
  };
  if (url.pathname !== '/' || url.search !== '') out['__metrics_path__'] = `${url.pathname}${url.search}`;
  if (url.username !== '') out['__user_info__'] = `${url.username}:${url.password}`;
  return out;
}
