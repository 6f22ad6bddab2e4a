/** Attributes as decoders make them: objects that inherit nothing, so that any key is safe, at the speed of plain ones. */
import type { AnyValue, Attributes } from '../../model.ts';

export type MutableAttributes = Record<string, AnyValue>;

// Object.create(null) gives a hash table, several times slower to fill and to read. An instance of a function whose
// prototype has no prototype is an ordinary object that inherits nothing either.
const Empty = function Empty() {} as unknown as new () => MutableAttributes;
Empty.prototype = Object.freeze(Object.create(null));

export const newAttributes = (): MutableAttributes => new Empty();

/** Attributes from an object or list of entries, without a prototype; for tests and hand-written data too. */
export function attributesOf(entries: Readonly<Record<string, AnyValue>>): Attributes {
  const attributes = newAttributes();
  for (const key of Object.keys(entries)) attributes[key] = entries[key]!;
  return attributes;
}
