/** Component and pipeline ids: `type` or `type/name`. Rules and sentences are the Collector's. */

export interface ParsedId {
  readonly type: string;
  readonly name: string;
  /** Trimmed: `type` or `type/name`. */
  readonly id: string;
}

const TYPE = /^[a-zA-Z][0-9a-zA-Z_]{0,62}$/;
/** No spaces, control characters or symbols of any script. */
const NAME = /^[^\p{Z}\p{C}\p{S}]+$/u;
const MAX_NAME = 1024;

/** The id, or what is wrong with it in one sentence. */
export function parseId(text: string): ParsedId | { readonly mistake: string } {
  const slash = text.indexOf('/');
  const type = (slash < 0 ? text : text.slice(0, slash)).trim();
  const shown = JSON.stringify(text.length > 80 ? `${text.slice(0, 77)}...` : text);
  if (slash < 0 && type === '') return { mistake: 'id must not be empty' };
  if (type === '') return { mistake: `in ${shown} id: the part before / should not be empty` };
  let name = '';
  if (slash >= 0) {
    name = text.slice(slash + 1).trim();
    if (name === '') return { mistake: `in ${shown} id: the part after / should not be empty` };
    if (name.length > MAX_NAME) {
      return { mistake: `in ${shown} id: name is longer than ${MAX_NAME} characters (${name.length} characters)` };
    }
    if (!NAME.test(name)) return { mistake: `in ${shown} id: invalid character(s) in name ${JSON.stringify(name)}` };
  }
  if (!TYPE.test(type))
    return { mistake: `in ${shown} id: invalid character(s) in type ${JSON.stringify(type.slice(0, 80))}` };
  return { type, name, id: slash < 0 ? type : `${type}/${name}` };
}
