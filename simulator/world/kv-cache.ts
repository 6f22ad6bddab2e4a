/**
 * The KV block pool with a reference-counted prefix cache and least-recently-used eviction. Cached prefixes are kept as
 * runs of blocks in a tree instead of single blocks: the counts are the same as with one hash per block, at a cost per
 * request that does not grow with its length.
 */
/** One piece of a prompt that other prompts may share; `tokens` is a multiple of the block size. */
export interface Segment {
  readonly key: number;
  readonly tokens: number;
}

export interface KvNode {
  readonly key: number;
  readonly parent: KvNode | null;
  children: Map<number, KvNode> | null;
  blocks: number;
  refs: number;
  previous: KvNode | null;
  next: KvNode | null;
}

export interface KvCache {
  readonly blockSize: number;
  total: number;
  /** Blocks that live requests hold. */
  used: number;
  /** Cached blocks that nobody holds; they count as free for admission. */
  idle: number;
  evictedBlocks: number;
  /** Of the used ones, blocks that no request holds: unusable. */
  stuck: number;
  readonly root: KvNode;
  readonly lru: KvNode;
  readonly caching: boolean;
}

const node = (key: number, parent: KvNode | null): KvNode => ({
  key,
  parent,
  children: null,
  blocks: 0,
  refs: 0,
  previous: null,
  next: null,
});

export function kvCache(total: number, blockSize: number, caching: boolean): KvCache {
  const lru = node(-1, null);
  lru.previous = lru;
  lru.next = lru;
  return { blockSize, total, used: 0, idle: 0, evictedBlocks: 0, stuck: 0, root: node(0, null), lru, caching };
}

/** Blocks that could be given out now. */
export const available = (kv: KvCache): number => kv.total - kv.used;

function unlink(n: KvNode): void {
  n.previous!.next = n.next;
  n.next!.previous = n.previous;
  n.previous = null;
  n.next = null;
}

function makeIdle(kv: KvCache, n: KvNode): void {
  const last = kv.lru.previous!;
  n.previous = last;
  n.next = kv.lru;
  last.next = n;
  kv.lru.previous = n;
  kv.idle += n.blocks;
  kv.used -= n.blocks;
}

function evict(kv: KvCache, blocks: number): void {
  while (blocks > 0) {
    const victim = kv.lru.next!;
    if (victim === kv.lru) throw new Error('the KV pool was asked for more blocks than it has');
    const taken = Math.min(blocks, victim.blocks);
    victim.blocks -= taken;
    kv.idle -= taken;
    kv.evictedBlocks += taken;
    blocks -= taken;
    if (victim.blocks === 0) {
      unlink(victim);
      victim.parent!.children!.delete(victim.key);
    }
  }
}

/** Takes blocks for a live request; the caller has checked `available`. */
export function take(kv: KvCache, blocks: number): void {
  const free = kv.total - kv.used - kv.idle;
  if (blocks > free) evict(kv, blocks - free);
  kv.used += blocks;
}

export interface Match {
  /** Nodes of the path that are cached now. */
  readonly path: KvNode[];
  readonly cachedBlocks: number;
  /** Of those, the ones nobody holds: taking them costs room. */
  readonly idleBlocks: number;
  /** How many segments matched completely. */
  readonly complete: number;
}

/** What of a prompt is cached. Changes nothing. */
export function match(kv: KvCache, segments: readonly Segment[]): Match {
  const path: KvNode[] = [];
  let cachedBlocks = 0;
  let idleBlocks = 0;
  let complete = 0;
  let at: KvNode = kv.root;
  if (kv.caching) {
    for (const segment of segments) {
      const child = at.children?.get(segment.key);
      if (!child) break;
      path.push(child);
      cachedBlocks += child.blocks;
      if (child.refs === 0) idleBlocks += child.blocks;
      if (child.blocks * kv.blockSize < segment.tokens) break;
      complete++;
      at = child;
    }
  }
  return { path, cachedBlocks, idleBlocks, complete };
}

/** Takes references on the matched nodes and fills in the missing ones; returns the request's whole path. */
export function claim(kv: KvCache, segments: readonly Segment[], found: Match): KvNode[] {
  const path = found.path;
  for (const n of path) {
    if (n.refs === 0) {
      unlink(n);
      kv.idle -= n.blocks;
      kv.used += n.blocks;
    }
    n.refs++;
  }
  if (!kv.caching) return path;
  for (let i = found.complete; i < segments.length; i++) {
    const segment = segments[i]!;
    const want = Math.floor(segment.tokens / kv.blockSize);
    let n = path[i];
    if (n) {
      take(kv, want - n.blocks);
      n.blocks = want;
    } else {
      const parent = i === 0 ? kv.root : path[i - 1]!;
      n = node(segment.key, parent);
      take(kv, want);
      n.blocks = want;
      n.refs = 1;
      parent.children ??= new Map();
      parent.children.set(segment.key, n);
      path.push(n);
    }
  }
  return path;
}

/** Blocks that the shared part of these segments occupies. */
export function blocksOf(kv: KvCache, segments: readonly Segment[]): number {
  let blocks = 0;
  if (kv.caching) for (const s of segments) blocks += Math.floor(s.tokens / kv.blockSize);
  return blocks;
}

/**
 * Gives a request's blocks back: `privateBlocks` of which `keep` stay cached under `key` behind its path. Leaves go
 * first, so that they are evicted before what they hang on.
 */
export function release(kv: KvCache, path: KvNode[], privateBlocks: number, keep: number, key: number): void {
  const kept = kv.caching ? Math.min(keep, privateBlocks) : 0;
  kv.used -= privateBlocks - kept;
  if (kept > 0) {
    const parent = path.length > 0 ? path[path.length - 1]! : kv.root;
    const old = parent.children?.get(key);
    if (old) kv.used -= kept;
    else {
      const n = node(key, parent);
      n.blocks = kept;
      parent.children ??= new Map();
      parent.children.set(key, n);
      makeIdle(kv, n);
    }
  }
  for (let i = path.length - 1; i >= 0; i--) {
    const n = path[i]!;
    if (--n.refs === 0) makeIdle(kv, n);
  }
}

/** Forgets everything that is cached and not held. */
export function flush(kv: KvCache): void {
  evict(kv, kv.idle);
}
