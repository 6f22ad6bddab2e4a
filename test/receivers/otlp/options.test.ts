import { expect, test } from 'vitest';
import { resolve } from '../../../config/schema.ts';
import { otlpReceiver } from '../../../receivers/otlp/index.ts';

const mistakes = (config: unknown) => otlpReceiver.validate!(resolve(otlpReceiver.config, config));

test('at least one protocol has to be written, in the words of the Collector', () => {
  for (const config of [{}, { protocols: {} }]) {
    const [mistake, ...others] = mistakes(config);
    expect(others).toEqual([]);
    expect(mistake!.path).toEqual(['protocols']);
    expect(mistake!.message).toMatch(/^must specify at least one protocol when using the OTLP receiver/);
  }
});

test('a protocol with nothing behind it is on with its defaults', () => {
  const { protocols } = resolve(otlpReceiver.config, { protocols: { grpc: null } });
  expect(protocols.grpc).toMatchObject({ endpoint: '127.0.0.1:4317', max_recv_msg_size_mib: 64, read_timeout: 60_000 });
  expect(protocols.http).toBe(undefined);
  expect(mistakes({ protocols: { grpc: null } })).toEqual([]);
});

test('what a Collector config has in this place is understood', () => {
  const config = {
    protocols: {
      grpc: {
        endpoint: '0.0.0.0:4317',
        max_recv_msg_size_mib: 16,
        max_concurrent_streams: 200,
        read_buffer_size: 524288,
        include_metadata: true,
        transport: 'tcp',
        keepalive: {
          server_parameters: { max_connection_idle: '11s', max_connection_age: '12s', time: '30s', timeout: '5s' },
          enforcement_policy: { min_time: '10s', permit_without_stream: true },
        },
      },
      http: {
        endpoint: '0.0.0.0:4318',
        max_request_body_size: 20971520,
        cors: { allowed_origins: ['http://*.domain.com'], allowed_headers: ['Example-Header'], max_age: 7200 },
        traces_url_path: '/otlp/v1/traces',
      },
    },
  };
  expect(mistakes(config)).toEqual([]);
  const { grpc } = resolve(otlpReceiver.config, config).protocols;
  expect(grpc?.keepalive.server_parameters).toMatchObject({ max_connection_idle: 11_000, max_connection_age: 12_000 });
});

test.each([
  [
    { grpc: { endpoint: '0.0.0.0:4317' }, http: { endpoint: '0.0.0.0:4317' } },
    ['protocols', 'grpc', 'endpoint'],
    /share/,
  ],
  [{ http: { traces_url_path: '/x', logs_url_path: '/x' } }, ['protocols', 'http'], /same url path/],
  [{ http: { tls: { cert_file: 'a' } } }, ['protocols', 'http', 'tls'], /key_file/],
  [
    { grpc: { tls: { cert_file: 'a', cert_pem: 'b', key_file: 'c' } } },
    ['protocols', 'grpc', 'tls', 'cert_pem'],
    /not both/,
  ],
  [{ grpc: { auth: {} } }, ['protocols', 'grpc', 'auth'], /bearer_token/],
  [{ http: { auth: { bearer_token: '' } } }, ['protocols', 'http', 'auth', 'bearer_token'], /empty/],
  [
    { http: { tls: { cert_file: 'a', key_file: 'b', min_version: '1.3', max_version: '1.2' } } },
    ['protocols', 'http', 'tls', 'max_version'],
    /older/,
  ],
])('%j is a mistake at its place', (protocols, path, message) => {
  const [mistake, ...others] = mistakes({ protocols });
  expect(others).toEqual([]);
  expect(mistake!.path).toEqual(path);
  expect(mistake!.message).toMatch(message);
});
