/**
 * A tree of stacks with the time of each: what a flame graph draws. Values are nanoseconds of the frame itself, without what
 * its children took; a node's total is its own and its children's, so the totals of a level never exceed the one above.
 */

/** Deeper stacks end in one frame that says so: a chain of 10⁵ spans would be lines of 10⁵ names each. */
export const MAX_DEPTH = 256;
/** More stacks than a person can look at; what comes later is added up beside them. */
export const MAX_NODES = 100_000;
/** Frames of all stacks together, so that the file of a hostile tree is not gigabytes. */
const MAX_FRAMES = 5_000_000;
export const DEEPER = '(deeper)';
export const OTHERS = '(others)';

export class FlameTree {
  /** By node; node 0 is the root, which has no frame. Parents come before their children. */
  readonly parent: number[] = [-1];
  readonly frame: number[] = [-1];
  readonly depth: number[] = [0];
  readonly self: number[] = [0];
  readonly frames: string[] = [];
  readonly #frameOf = new Map<string, number>();
  readonly #nodeOf = new Map<number, number>();
  #extent = 0;

  get size(): number {
    return this.parent.length;
  }

  name(node: number): string {
    return node === 0 ? '' : this.frames[this.frame[node]!]!;
  }

  /** The number of a frame's name. */
  frameId(name: string): number {
    let id = this.#frameOf.get(name);
    if (id === undefined) {
      if (this.frames.length >= MAX_NODES && name !== OTHERS) return this.frameId(OTHERS);
      id = this.frames.length;
      this.frames.push(name);
      this.#frameOf.set(name, id);
    }
    return id;
  }

  /** The child of a node with a frame; made if there is none. */
  child(node: number, frame: number): number {
    // Both are below 2^20 with some room, so the key is exact.
    const key = node * 2 ** 21 + frame;
    const found = this.#nodeOf.get(key);
    if (found !== undefined) return found;
    const depth = this.depth[node]! + 1;
    if (depth >= MAX_DEPTH) {
      const deeper = this.frameId(DEEPER);
      if (this.frame[node] === deeper) return node;
      if (frame !== deeper) return this.child(node, deeper);
    } else if (this.size >= MAX_NODES || this.#extent >= MAX_FRAMES) {
      const others = this.frameId(OTHERS);
      if (this.frame[node] === others) return node;
      if (frame !== others) return this.size >= 2 * MAX_NODES ? node : this.child(node, others);
    }
    const made = this.size;
    this.parent.push(node);
    this.frame.push(frame);
    this.depth.push(depth);
    this.#extent += depth;
    this.self.push(0);
    this.#nodeOf.set(key, made);
    return made;
  }

  add(node: number, nanos: number): void {
    this.self[node]! += nanos;
  }

  /** The node of a stack, made if there is none. */
  at(names: readonly string[]): number {
    let node = 0;
    for (const name of names) node = this.child(node, this.frameId(name));
    return node;
  }

  /** Total of every node, its own time and that of all below. */
  totals(): Float64Array {
    const total = Float64Array.from(this.self);
    for (let i = this.size - 1; i > 0; i--) total[this.parent[i]!]! += total[i]!;
    return total;
  }

  /** Children of every node, largest total first. */
  children(totals: Float64Array): number[][] {
    const out: number[][] = Array.from({ length: this.size }, () => []);
    for (let i = 1; i < this.size; i++) out[this.parent[i]!]!.push(i);
    for (const list of out) if (list.length > 1) list.sort((a, b) => totals[b]! - totals[a]! || a - b);
    return out;
  }

  /** Nodes but the root, each right before all below it, the largest first: stacks that begin alike are together. */
  depthFirst(): number[] {
    const children = this.children(this.totals());
    const out: number[] = [];
    const open = [...children[0]!].reverse();
    for (let node = open.pop(); node !== undefined; node = open.pop()) {
      out.push(node);
      for (let k = children[node]!.length - 1; k >= 0; k--) open.push(children[node]![k]!);
    }
    return out;
  }

  /** The names from the top to a node. */
  stack(node: number): string[] {
    const names: string[] = [];
    for (let at = node; at > 0; at = this.parent[at]!) names.push(this.name(at));
    return names.reverse();
  }
}
