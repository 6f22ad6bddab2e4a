/** Folded stacks, a line each: `frame;frame;frame value`, as Brendan Gregg's flamegraph.pl and most viewers read them. */
import type { FlameTree } from './tree.ts';

/** Microseconds of each node as whole numbers that add up to the whole within one: what rounding takes, the next one gets. */
export function wholeMicros(tree: FlameTree, visit: (node: number, micros: number) => void): void {
  let carried = 0;
  for (const i of tree.depthFirst()) {
    const exact = tree.self[i]! / 1000 + carried;
    const micros = Math.round(exact);
    carried = exact - micros;
    if (micros > 0) visit(i, micros);
  }
}

/** Values are microseconds of the frame itself. */
export function* foldedLines(tree: FlameTree): Generator<string> {
  const lines: [number, number][] = [];
  wholeMicros(tree, (node, micros) => lines.push([node, micros]));
  for (const [node, micros] of lines) yield `${tree.stack(node).join(';')} ${micros}\n`;
}
