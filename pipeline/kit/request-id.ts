/**
 * One request has many names: every engine and gateway puts its own before and behind the id it was given. What is common is
 * the same for all of them.
 */

/** What stands before an id: vLLM's and OpenAI's kinds of answers, and the number of a parallel sample. */
const BEFORE = /^(?:chatcmpl|cmpl|embd|embedding|score|rerank|classify|pool|resp|responses|transcribe|req)[-_]/;
const SAMPLE = /^\d{1,4}_(?=.{8})/;
/** vLLM's P2P connector writes both addresses into the id. */
const ADDRESSES = /^.*___decode_addr_[^_]+_/;
const LEG = /[-_](?:prefill|decode|encode)(?:[-_]?\d{1,3})?$/;
/** What vLLM appends: the number of the prompt, and since 2025 eight hexadecimal digits that make it unique within. */
const PROMPT = /-\d{1,4}$/;
const UNIQUE = /-[0-9a-f]{8}$/;
const UUID = /^([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})/i;

/** Shorter ones are counted from zero by somebody, and come again. */
const SHORTEST = 6;

/** The common part of a request's ids; '' if there is none that could be told from others. */
export function commonRequestId(id: string): string {
  let rest = id.trim();
  if (rest.length > 512) return '';
  rest = rest.replace(ADDRESSES, '').replace(SAMPLE, '');
  let named = false;
  while (BEFORE.test(rest)) {
    rest = rest.replace(BEFORE, '');
    named = true;
  }
  const uuid = UUID.exec(rest);
  if (uuid) {
    const behind = rest.slice(uuid[0].length);
    // A longer hexadecimal word only begins like one.
    if (behind === '' || /^[-_]/.test(behind)) return uuid.slice(1).join('').toLowerCase();
  }
  rest = rest.replace(LEG, '');
  // Ids of callers may end like this themselves: only where an engine has put its name before is it the engine's.
  if (named) rest = rest.replace(UNIQUE, '').replace(PROMPT, '');
  return rest.length < SHORTEST ? '' : rest;
}
