/** What the keys do, and what of the screen is written anew. */
import type { LiveSnapshot } from '../../pipeline/kit/live-types.ts';
import type { LiveSource } from '../live-client.ts';
import { gpuDetail, incidentDetail, replicaDetail } from './detail.ts';
import { render, rowsOf, type Size, TABS, type Tab } from './render.ts';
import { type Paint, wrapped } from './text.ts';

export interface Screen {
  /** A new state, or why there is none. */
  show(state: LiveSnapshot | undefined, trouble?: string): Promise<void>;
  /** A key as the terminal sends it; false ends it all. */
  press(key: string): Promise<boolean>;
  /** Writes all of it anew, after a change of the size. */
  redraw(): void;
}

/** Keys of one chunk of a terminal's bytes: sequences stay whole. */
export function keysOf(text: string): string[] {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: this is how keys arrive.
  return text.match(/\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Z]|[\s\S]/g) ?? [];
}

const KEY: Readonly<Record<string, string>> = {
  '\x1b[A': 'up',
  '\x1bOA': 'up',
  k: 'up',
  '\x1b[B': 'down',
  '\x1bOB': 'down',
  j: 'down',
  '\x1b[5~': 'pageup',
  '\x1b[6~': 'pagedown',
  ' ': 'pagedown',
  '\x1b[H': 'home',
  '\x1b[1~': 'home',
  g: 'home',
  '\x1b[F': 'end',
  '\x1b[4~': 'end',
  G: 'end',
  '\r': 'enter',
  '\n': 'enter',
  '\x1b[C': 'enter',
  '\x1b': 'back',
  '\x7f': 'back',
  '\b': 'back',
  '\x1b[D': 'back',
  '\t': 'next',
  q: 'quit',
  '\x03': 'quit',
};

export function createScreen(
  write: (text: string) => void,
  source: LiveSource,
  size: () => Size,
  paint: Paint,
  colour: boolean,
): Screen {
  let state: LiveSnapshot | undefined;
  let trouble: string | undefined;
  let tab: Tab = 'replicas';
  const selected: Partial<Record<Tab, string>> = {};
  let open: { tab: Tab; id: string } | undefined;
  let detail: string[] | undefined;
  let scroll = 0;
  let before: string[] = [];

  const draw = () => {
    const now = size();
    const at = { columns: Math.max(1, now.columns), rows: Math.max(1, now.rows) };
    const lines = state
      ? render(state, { tab, selected: selected[tab], detail, scroll, trouble }, at, paint)
      : wrapped(trouble ?? 'Waiting for the first state.', at.columns).slice(0, at.rows);
    // Only what changed: a slow line does not flicker.
    let out = '';
    for (let i = 0; i < Math.max(lines.length, before.length); i++) {
      if (lines[i] !== before[i]) out += `\x1b[${i + 1};1H\x1b[0m${lines[i] ?? ''}\x1b[K`;
    }
    before = lines;
    if (out !== '') write(out);
  };

  const look = async () => {
    if (!open || !state) return;
    const { columns } = size();
    if (open.tab === 'incidents') {
      try {
        detail = incidentDetail(await source.incident(open.id), Math.max(20, columns), colour);
      } catch (error) {
        detail = wrapped(`This incident cannot be shown: ${(error as Error).message}`, columns);
      }
      return;
    }
    const replica = open.tab === 'replicas' ? state.replicas.find((r) => r.id === open?.id) : undefined;
    const gpu = open.tab === 'gpus' ? state.gpus.find((g) => g.id === open?.id) : undefined;
    detail = replica
      ? replicaDetail(replica, state, columns, paint)
      : gpu
        ? gpuDetail(gpu, state, columns, paint)
        : ['It is gone.'];
  };

  const move = (by: number) => {
    if (!state) return;
    if (detail) {
      const room = Math.max(1, size().rows - 5);
      scroll = Math.max(0, Math.min(detail.length - room, scroll + by));
      return;
    }
    const rows = rowsOf(state, tab);
    const at = rows.findIndex((r) => r.id === selected[tab]);
    const to = rows[Math.max(0, Math.min(rows.length - 1, (at < 0 ? (by > 0 ? -1 : 0) : at) + by))];
    if (to) selected[tab] = to.id;
  };
  const go = (to: Tab) => {
    tab = to;
    open = undefined;
    detail = undefined;
    scroll = 0;
  };

  return {
    async show(next, why) {
      trouble = why;
      if (next) state = next;
      await look();
      draw();
    },
    redraw() {
      before = [];
      write('\x1b[0m\x1b[2J');
      draw();
    },
    async press(key) {
      const page = Math.max(1, size().rows - 6);
      switch (KEY[key] ?? key) {
        case 'quit':
          return false;
        case 'up':
          move(-1);
          break;
        case 'down':
          move(1);
          break;
        case 'pageup':
          move(-page);
          break;
        case 'pagedown':
          move(page);
          break;
        case 'home':
          move(-1e9);
          break;
        case 'end':
          move(1e9);
          break;
        case 'enter': {
          const rows = state ? rowsOf(state, tab) : [];
          const id = selected[tab] ?? rows[0]?.id;
          if (detail || id === undefined) break;
          selected[tab] = id;
          open = { tab, id };
          scroll = 0;
          await look();
          break;
        }
        case 'back':
          go(tab);
          break;
        case 'next':
          go(TABS[(TABS.indexOf(tab) + 1) % TABS.length]!);
          break;
        case '1':
        case '2':
        case '3':
          go(TABS[Number(key) - 1]!);
          break;
        default:
          return true;
      }
      draw();
      return true;
    },
  };
}
