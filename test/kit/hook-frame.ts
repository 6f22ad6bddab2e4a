/** Frames of hook events, made without the code that reads them. */

export interface FrameParts {
  /** How many collectives with made-up numbers. */
  readonly collectives?: number;
  /** Merged over the header. */
  readonly header?: Readonly<Record<string, unknown>>;
  /** Rows beside the collectives. */
  readonly blocks?: readonly { readonly kind: string; readonly rows: readonly (readonly (number | bigint)[])[] }[];
  readonly resource?: Readonly<Record<string, string | number>>;
}

/** When the frame says it was made, and what its clock is away from Unix time. */
export const NOW = 5_000_000_000_000n;
export const CLOCK = 1_700_000_000_000_000_000n;

export function hookFrame(parts: FrameParts = {}): Buffer<ArrayBuffer> {
  const { collectives = 0 } = parts;
  const blocks = [
    ...(collectives > 0
      ? [
          {
            kind: 'collective',
            rows: Array.from({ length: collectives }, (_, i) => {
              const start = NOW - BigInt((collectives - i) * 100_000);
              return [start, start + 40_000n, 0, i + 1, 4096];
            }),
          },
        ]
      : []),
    ...(parts.blocks ?? []),
  ];
  const header = {
    sender: '00c0ffee',
    pid: 17,
    version: '0.1.0',
    clock: String(CLOCK),
    now: String(NOW),
    resource: parts.resource ?? { 'service.name': 'llm', 'inference.rank': 1 },
    strings: [],
    groups: [{ id: '0:0-3', size: 4, rank: 1, backend: 'gloo' }],
    ops: [{ op: 'all_reduce', group: 0, clock: 'host' }],
    spans: [],
    blocks: blocks.map(({ kind, rows }) => ({ kind, count: rows.length })),
    lost: {},
    seen: collectives,
    ...parts.header,
  };
  return packFrame(
    JSON.stringify(header),
    blocks.flatMap(({ rows }) => rows.flat()),
  );
}

export function packFrame(header: string, numbers: readonly (number | bigint)[]): Buffer<ArrayBuffer> {
  const length = Math.ceil((Buffer.byteLength(header) + 8) / 8) * 8 - 8;
  const frame = Buffer.alloc(8 + length + numbers.length * 8, ' ');
  frame.write('ELH1', 0, 'latin1');
  frame.writeUInt32LE(length, 4);
  frame.write(header, 8);
  numbers.forEach((n, i) => void frame.writeBigInt64LE(BigInt(n), 8 + length + i * 8));
  return frame;
}
