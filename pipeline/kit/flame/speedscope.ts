/** A profile for speedscope. Format: file-format-spec.ts of jlfwong/speedscope, version 1.x. */
import type { FlameTree } from './tree.ts';

export interface SpeedscopeProfile {
  readonly name: string;
  readonly tree: FlameTree;
}

/** One file with a profile a tree; values are nanoseconds. Pieces of text, which together are the file. */
export function* speedscope(profiles: readonly SpeedscopeProfile[], name: string, exporter: string): Generator<string> {
  const frames: string[] = [];
  const idOf = new Map<string, number>();
  const shared = (frame: string) => {
    let id = idOf.get(frame);
    if (id === undefined) {
      id = frames.length;
      frames.push(frame);
      idOf.set(frame, id);
    }
    return id;
  };
  yield `{"$schema":"https://www.speedscope.app/file-format-schema.json","name":${JSON.stringify(name)},"exporter":${JSON.stringify(exporter)},"activeProfileIndex":0,"profiles":[`;
  let separator = '';
  for (const { name: title, tree } of profiles) {
    const ids = tree.frames.map(shared);
    const nodes: number[] = [];
    let end = 0;
    for (const i of tree.depthFirst()) {
      const weight = Math.round(tree.self[i]!);
      if (weight <= 0) continue;
      nodes.push(i);
      end += weight;
    }
    yield `${separator}{"type":"sampled","name":${JSON.stringify(title)},"unit":"nanoseconds","startValue":0,"endValue":${end},"samples":[`;
    separator = ',';
    for (let n = 0; n < nodes.length; n++) {
      const stack: number[] = [];
      for (let at = nodes[n]!; at > 0; at = tree.parent[at]!) stack.push(ids[tree.frame[at]!]!);
      yield `${n === 0 ? '' : ','}[${stack.reverse().join()}]`;
    }
    yield `],"weights":[${nodes.map((i) => Math.round(tree.self[i]!)).join()}]}`;
  }
  yield `],"shared":{"frames":[${frames.map((frame) => `{"name":${JSON.stringify(frame)}}`).join()}]}}\n`;
}
