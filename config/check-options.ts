/** Checks one set of options (a component's, or `service::telemetry`) and gives its plain value. */
import { conform, newConformed, pointer } from './conform.ts';
import type { AnySchema } from './schema.ts';
import { sentenceFor } from './sentences.ts';
import { formatPath, keyPlace, type Node, nodeAt, type Path, valuePlace } from './tree.ts';
import type { Issue } from './types.ts';
import { faultsOf } from './validate.ts';

export interface CheckedOptions {
  /** What the schema describes, before `resolve`. */
  readonly value: unknown;
  readonly issues: readonly Issue[];
  /** False if something is wrong that stops the start. */
  readonly ok: boolean;
}

/** `base` is the path of `node` from the top of the file. */
export function checkOptions(node: Node, schema: AnySchema, base: Path): CheckedOptions {
  const conformed = newConformed();
  const value = conform(node, schema, conformed, []) ?? {};
  const issues: Issue[] = conformed.issues.map(({ severity, path, message, hint, aboutKey }) => ({
    severity,
    place: aboutKey ? keyPlace(node, path) : valuePlace(node, path),
    path: formatPath([...base, ...path]),
    message,
    ...(hint === undefined ? {} : { hint }),
  }));
  for (const fault of faultsOf(schema, value)) {
    const sentence = sentenceFor(fault, {
      node: nodeAt(node, fault.path),
      root: schema,
      base,
      emptied: (path) => conformed.emptied.get(pointer(path)),
    });
    if (conformed.failed.has(pointer(sentence.path))) continue;
    issues.push({
      severity: 'error',
      place: sentence.aboutKey ? keyPlace(node, sentence.path) : valuePlace(node, sentence.path),
      path: formatPath([...base, ...sentence.path]),
      message: sentence.message,
      ...(sentence.hint === undefined ? {} : { hint: sentence.hint }),
    });
  }
  const ok = conformed.failed.size === 0 && !issues.some((issue) => issue.severity === 'error');
  return { value, issues, ok };
}
