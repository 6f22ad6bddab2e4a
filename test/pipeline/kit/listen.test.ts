import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { listen, parseEndpoint, urlOf } from '../../../pipeline/kit/listen.ts';

test.each([
  ['127.0.0.1:4317', { host: '127.0.0.1', port: 4317 }],
  ['localhost:0', { host: '127.0.0.1', port: 0 }],
  [':8080', { port: 8080 }],
  ['[::1]:80', { host: '::1', port: 80 }],
  ['example.org:65535', { host: 'example.org', port: 65_535 }],
  ['unix:///run/x.sock', { path: '/run/x.sock' }],
  ['unix:x.sock', { path: 'x.sock' }],
])('%s is where to listen', (endpoint, expected) => {
  expect(parseEndpoint(endpoint)).toEqual(expected);
});

test.each([
  '',
  '4317',
  'localhost',
  'localhost:x',
  'localhost:70000',
  '::1:80',
  'http://localhost:1',
])('"%s" is refused', (endpoint) => {
  expect(() => parseEndpoint(endpoint)).toThrow(/write it as host:port/);
});

test('a URL is what somebody on this machine would type', () => {
  expect(urlOf({ address: '127.0.0.1', port: 80 }, 'http')).toBe('http://127.0.0.1:80');
  expect(urlOf({ address: '::', port: 80 }, 'https')).toBe('https://localhost:80');
  expect(urlOf({ address: '::1', port: 80 }, 'http')).toBe('http://[::1]:80');
  expect(urlOf({ address: '/run/x.sock', port: 0 }, 'http')).toBe('http+unix://%2Frun%2Fx.sock');
});

test('an address that is not this machine is refused with the remedy', async () => {
  const server = createServer();
  await expect(listen(server, '192.0.2.1:0')).rejects.toThrow(
    'Cannot listen on 192.0.2.1:0: this machine has no such address (EADDRNOTAVAIL)',
  );
  await expect(listen(createServer(), 'unix:///nowhere/at/all.sock')).rejects.toThrow(/Cannot listen on unix:/);
});
