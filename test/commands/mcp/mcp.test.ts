import { afterEach, describe, expect, it } from 'vitest';
import { type LiveClient, liveClient } from '../../../commands/live-client.ts';
import { mcpServer, REVISIONS } from '../../../commands/mcp/server.ts';
import { TOOLS } from '../../../commands/mcp/tools.ts';
import { resolve } from '../../../config/schema.ts';
import { liveExporter } from '../../../exporters/live/index.ts';
import type { Stage } from '../../../pipeline/component.ts';
import { systemClock } from '../../../pipeline/kit/clock.ts';
import { findingRecord, incidentRecord } from '../../../pipeline/kit/verdict.ts';
import { logsBatch } from '../../../pipeline/model.ts';
import { testContext } from '../../kit/harness.ts';
import { aFinding, anIncident } from '../../kit/incident.ts';

const open: { stage: Stage; client: LiveClient }[] = [];
afterEach(async () => {
  for (const { stage, client } of open.splice(0)) {
    client.close();
    await stage.stop(AbortSignal.abort());
  }
});

/** A daemon with an incident, and an assistant's side of the server. */
async function started() {
  const context = testContext({ kind: 'exporter', id: 'live', clock: systemClock });
  const stage = await liveExporter.start(resolve(liveExporter.config, { endpoint: '127.0.0.1:0' }), context);
  const client = liveClient(String(context.log.records.find((r) => r.fields['url'])?.fields['url']));
  open.push({ stage, client });
  await stage.consume(logsBatch([findingRecord(aFinding(), Date.now()), incidentRecord(anIncident(), Date.now())]));
  const answer = mcpServer({ client, version: '1.2.3', why: (e) => (e as Error).message });
  const ask = async (method: string, params?: object) => {
    const text = await answer(JSON.stringify({ jsonrpc: '2.0', id: 7, method, params }));
    return JSON.parse(text!);
  };
  const call = async (name: string, args: object = {}) =>
    (await ask('tools/call', { name, arguments: args })).result as {
      isError: boolean;
      content: { text: string }[];
      structuredContent: Record<string, never>;
    };
  return { answer, ask, call };
}

describe('enginelight mcp', () => {
  it('agrees on a revision, and offers its newest to whoever asks for another', async () => {
    const { ask, answer } = await started();
    for (const revision of REVISIONS) {
      expect((await ask('initialize', { protocolVersion: revision })).result).toMatchObject({
        protocolVersion: revision,
        serverInfo: { name: 'enginelight', version: '1.2.3' },
      });
    }
    expect((await ask('initialize', { protocolVersion: '1999-01-01' })).result.protocolVersion).toBe(REVISIONS[0]);
    expect(await answer('{"jsonrpc":"2.0","method":"notifications/initialized"}')).toBeUndefined();
    expect((await ask('ping')).result).toEqual({});
  });

  it('has only tools that read', async () => {
    const { ask } = await started();
    const { tools } = (await ask('tools/list')).result;
    expect(tools).toHaveLength(TOOLS.length);
    for (const tool of tools) {
      expect(tool.annotations).toMatchObject({ readOnlyHint: true, destructiveHint: false });
      expect(tool.inputSchema).toMatchObject({ type: 'object', additionalProperties: false });
      expect(tool.description.length).toBeGreaterThan(30);
    }
  });

  it('answers incidents, evidence, findings, entities and signals', async () => {
    const { call } = await started();
    const state = await call('get_state');
    expect(state.structuredContent).toMatchObject({ worst: 'critical', counts: { open: 1 } });
    expect(JSON.parse(state.content[0]!.text)).toEqual(state.structuredContent);
    expect((await call('list_incidents', { state: 'open' })).structuredContent).toMatchObject({ total: 1 });
    expect((await call('get_incident', { id: 'inc-1' })).structuredContent).toMatchObject({
      incident: { root: { detector: 'thermal-throttle' } },
      findings: [{ evidence: [{ signal: 'hw.gpu.clock', threshold: 1.8e9 }] }],
    });
    expect((await call('list_findings', { entity: 'r1' })).structuredContent).toMatchObject({ total: 1 });
    expect((await call('get_entity', { kind: 'gpu', id: 'GPU-3' })).structuredContent).toMatchObject({
      incidents: [{ id: 'inc-1' }],
    });
    for (const name of ['list_entities', 'list_missing_evidence', 'query_signal']) {
      expect((await call(name)).isError).toBe(false);
    }
  });

  it('tells the assistant what was wrong with its question', async () => {
    const { ask, call } = await started();
    const wrong = async (name: string, args: object) => {
      const { isError, content } = await call(name, args);
      return [isError, content[0]!.text];
    };
    expect(await wrong('get_incident', {})).toEqual([true, 'get_incident needs id']);
    expect(await wrong('get_incident', { id: '../../state' })).toEqual([
      true,
      expect.stringContaining('no such incident'),
    ]);
    expect(await wrong('list_incidents', { state: 'maybe' })).toEqual([true, 'state must be one of open, resolved']);
    expect(await wrong('list_findings', { limit: 'all' })).toEqual([true, 'limit must be a whole number']);
    expect(await wrong('get_state', { __proto__x: 1 })).toEqual([true, expect.stringContaining('no argument')]);
    expect((await ask('tools/call', { name: 'restart_engine' })).error.code).toBe(-32602);
    expect((await ask('resources/list')).error.code).toBe(-32601);
  });

  it('survives what is no message', async () => {
    const { answer } = await started();
    const code = async (line: string) => JSON.parse((await answer(line))!).error.code;
    expect(await code('{')).toBe(-32700);
    expect(await code('[]')).toBe(-32600);
    expect(await code('null')).toBe(-32600);
    expect(await code('{"id":1}')).toBe(-32600);
    expect(await code(`"${'x'.repeat(2 ** 20)}"`)).toBe(-32600);
    expect(await answer('')).toBeUndefined();
    expect(await answer('{"jsonrpc":"2.0","id":1,"result":{}}')).toBeUndefined();
  });

  it('says so when no daemon answers', async () => {
    const client = liveClient('http://127.0.0.1:1');
    const answer = mcpServer({ client, version: '0', why: (e) => `away: ${(e as Error).message}` });
    const text = await answer('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_state"}}');
    expect(JSON.parse(text!).result).toMatchObject({
      isError: true,
      content: [{ text: expect.stringContaining('away') }],
    });
    client.close();
  });
});
