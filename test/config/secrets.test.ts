/** No message, and nothing that is printed, shows a secret or what an expression stands for. */
import { describe, expect, test } from 'vitest';
import { redact } from '../../config/redact.ts';
import { formatIssue } from '../../config/report.ts';
import { type AnySchema, options, resolve, t } from '../../config/schema.ts';
import { load, VALID } from '../kit/config.ts';

const SECRET = 'hunter2';

const scraper = (body: string) =>
  VALID.replace('otlp: { protocols: { http: {} } }', `scraper: ${body}`).replace('[otlp]', '[scraper]');
const exporter = (body: string) => VALID.replace('nop:', `otlp_http: ${body}`).replace('[nop]', '[otlp_http]');

describe('a mistake never shows a secret', () => {
  test.each<[string, string]>([
    ['a list for a password', scraper(`{ auth: { password: [${SECRET}] } }`)],
    ['a number for a password', scraper('{ auth: { password: 77712345 } }')],
    ['a map for a header', exporter(`{ endpoint: "http://a", headers: { authorization: { x: ${SECRET} } } }`)],
    ['an unknown key beside it', scraper(`{ auth: { passwrod: ${SECRET} } }`)],
    ['a password in a URL', exporter(`{ endpoint: "ftp://user:${SECRET}@host" }`)],
    ['a password in a URL that cannot be read', exporter(`{ endpoint: "http://user:${SECRET}@ho st" }`)],
    ['a token in the query of a URL', exporter(`{ endpoint: "ftp://host/x?a=1&access_token=${SECRET}" }`)],
    ['a variable for a duration', exporter('{ endpoint: "http://a", timeout: "${env:TOKEN}" }')],
    ['a variable for a number', exporter('{ endpoint: "http://a", sending_queue: { queue_size: "${env:TOKEN}" } }')],
    ['a variable for a word', exporter('{ endpoint: "http://a", compression: "${env:TOKEN}" }')],
    ['a variable for a URL', exporter('{ endpoint: "${env:TOKEN}" }')],
    ['a variable for a section', exporter('{ endpoint: "http://a", sending_queue: "${env:TOKEN}" }')],
    ['a file for a duration', exporter('{ endpoint: "http://a", timeout: "${file:token}" }')],
    ['--set', exporter('{ endpoint: "http://a" }')],
  ])('%s', async (name, text) => {
    const { result } = await load(text, {
      env: { TOKEN: SECRET },
      files: { token: SECRET },
      sets: name === '--set' ? [`exporters.otlp_http.headers.authorization.x=${SECRET}`] : [],
    });
    expect(result.ok).toBe(false);
    const shown = [...result.mistakes, ...result.warnings].map((issue) => formatIssue(issue)).join('\n');
    expect(shown).not.toContain(SECRET);
    expect(shown).not.toContain('77712345');
  });
});

describe('redact', () => {
  const schema = options({
    password: t.secret({ description: 'Secret.', default: '' }),
    url: t.url({ description: 'URL.', default: 'http://h' }),
    headers: t.map(t.string({ description: 'Text.' }), { description: 'Headers.', default: {} }),
    rest: t.optional(t.any({ description: 'Anything.' })),
    list: t.list(t.oneOf([t.secret({ description: 'S.' }), t.integer({ description: 'I.' })], { description: 'X.' }), {
      description: 'List.',
      default: [],
    }),
    max_token: t.optional(t.integer({ description: 'A number with a secretive name.' })),
  });

  test('hides what the query of a URL names like a secret, and nothing else of it', () => {
    const shown = redact(undefined, {
      url: `http://a/x?page=2&api_key=${SECRET}&token=${SECRET}#top`,
      note: 'why=because & so on',
    });
    expect(shown).toEqual({
      url: 'http://a/x?page=2&api_key=[REDACTED]&token=[REDACTED]#top',
      note: 'why=because & so on',
    });
  });

  test('hides declared secrets, headers, passwords of URLs, and whatever is named like a secret', () => {
    const config = {
      password: SECRET,
      url: `https://user:${SECRET}@host:1/x`,
      headers: { 'x-scope': SECRET },
      rest: { api_key: SECRET, deep: [{ token: SECRET, name: 'shown' }], empty: null },
      list: [SECRET, 5],
      max_token: 7,
    };
    for (const value of [config, resolve(schema, config)]) {
      expect(redact(schema as AnySchema, value)).toEqual({
        password: '[REDACTED]',
        url: 'https://user:[REDACTED]@host:1/x',
        headers: { 'x-scope': '[REDACTED]' },
        rest: { api_key: '[REDACTED]', deep: [{ token: '[REDACTED]', name: 'shown' }], empty: null },
        list: ['[REDACTED]', 5],
        max_token: 7,
      });
    }
  });
});
