import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { PAGE, PAGE_POLICY } from '../../../exporters/live/page.ts';
import { SCRIPT } from '../../../exporters/live/page-script.ts';

const inside = (tag: string) => new RegExp(`<${tag}>([\\s\\S]*?)</${tag}>`).exec(PAGE)![1]!;
const hash = (text: string) => `sha256-${createHash('sha256').update(text).digest('base64')}`;

describe('the page', () => {
  it('has a policy that lets only its own script and style in, and talks to its own origin only', () => {
    expect(PAGE_POLICY).toContain("default-src 'none'");
    expect(PAGE_POLICY).toContain(`script-src '${hash(inside('script'))}'`);
    expect(PAGE_POLICY).toContain(`style-src '${hash(inside('style'))}'`);
    expect(PAGE_POLICY).toContain("connect-src 'self'");
    expect(PAGE_POLICY).not.toMatch(/unsafe|\*|https?:/);
  });

  it('needs nothing from elsewhere', () => {
    expect(PAGE.replaceAll('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:|@import|url\(|src=/);
    expect(PAGE.length).toBeLessThan(32_000);
  });

  it('never makes markup of what it is told', () => {
    expect(() => new Function(SCRIPT)).not.toThrow();
    expect(SCRIPT).not.toMatch(/innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|\.on[a-z]+ *=/);
    expect(SCRIPT).not.toContain('</');
  });
});
