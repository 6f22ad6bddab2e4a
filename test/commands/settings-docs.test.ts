import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { settingsDocs } from '../../commands/settings-docs.ts';
import { type AnySchema, options, t } from '../../config/schema.ts';
import { settingsTable } from '../../config/settings-table.ts';
import { runCommand } from '../kit/command.ts';
import { folder } from '../kit/config.ts';

describe('the settings table', () => {
  test('has a row for every setting, however deep, with type, default and description', () => {
    const config = options({
      endpoint: t.endpoint({ description: 'Where | to.' }),
      mode: t.choice(['a', 'b'], { description: 'How.', default: 'a' }),
      queue: t.section({ size: t.integer({ description: 'Many.', default: 5 }) }, { description: 'What waits.' }),
      tls: t.optional(
        t.section({ insecure: t.boolean({ description: 'Trust.', default: false }) }, { description: 'TLS.' }),
      ),
      targets: t.list(
        t.oneOf(
          [
            t.url({ description: 'A URL.' }),
            t.item({ url: t.url({ description: 'Its URL.' }) }, { description: 'More.' }),
          ],
          { description: 'One.' },
        ),
        { description: 'What to read.', default: [] },
      ),
      labels: t.map(t.string({ description: 'A label.' }), { description: 'Labels.', default: {} }),
      old: t.optional(t.duration({ description: 'Time.', deprecated: 'use "mode"' })),
    });
    expect(settingsTable(config as AnySchema)).toBe(`| Setting | Type | Default | Description |
| --- | --- | --- | --- |
| \`endpoint\` | host:port | **required** | Where \\| to. |
| \`mode\` | \`a\`, \`b\` | \`a\` | How. |
| \`queue\` | section |  | What waits. |
| \`queue.size\` | integer | \`5\` | Many. |
| \`tls\` | section | off | TLS. |
| \`tls.insecure\` | true, false | \`false\` | Trust. |
| \`targets\` | list of URL or section | \`[]\` | What to read. |
| \`targets[].url\` | URL | **required** | Its URL. |
| \`labels\` | map to text | \`{}\` | Labels. |
| \`old\` | duration |  | Time. *Deprecated: use "mode".* |`);
  });
});

describe('enginelight settings-docs', () => {
  test('prints the settings of the named components', async () => {
    const { code, out } = await runCommand(settingsDocs, ['otlphttp', 'page']);
    expect(code).toBe(0);
    expect(out.match(/^## .*/gm)).toEqual(['## otlp_http (exporter)', '## page (exporter)']);
    expect(out).toContain('| `sending_queue.queue_size` | integer | `1000` | Batches that wait. |');
  });

  test('refuses an unknown type', async () => {
    const { code, err } = await runCommand(settingsDocs, ['otlp_htp']);
    expect([code, err]).toEqual([2, 'there is no component "otlp_htp"; did you mean "otlp_http"?']);
  });

  test('--write refreshes what lies between the markers, and nothing else', async () => {
    const root = folder({
      'exporters/page/README.md': '# page\n\n<!-- settings -->\nold\n<!-- /settings -->\n\nNotes.\n',
    });
    mkdirSync(join(root, 'docs'));
    const first = await runCommand(settingsDocs, ['--write', root]);
    const written = first.out.split('\n');
    expect(written).toContain(join(root, 'docs/components.md'));
    expect(written).toContain(join(root, 'exporters/page/README.md'));
    const readme = readFileSync(join(root, 'exporters/page/README.md'), 'utf8');
    expect(readme).toMatch(/^# page\n\n<!-- settings -->\n\| Setting [\s\S]*\n<!-- \/settings -->\n\nNotes\.\n$/);
    expect(readFileSync(join(root, 'docs/components.md'), 'utf8')).toContain('[`page`](../exporters/page/README.md)');
    expect((await runCommand(settingsDocs, ['--write', root])).out).toBe('');
    writeFileSync(join(root, 'exporters/page/README.md'), '# no markers\n');
    expect((await runCommand(settingsDocs, ['--write', root])).out).toBe('');
  });
});
