/** Certificates for tests, made on the spot: an authority, and what it signs. DER by hand, so that nothing is needed. */
import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { isIP } from 'node:net';

export interface Certificate {
  /** PEM. */
  readonly cert: string;
  readonly key: string;
}
export interface Authority extends Certificate {
  /** A certificate for these host names and addresses, good for server and client. */
  issue(names: readonly string[], options?: { readonly expired?: boolean; readonly commonName?: string }): Certificate;
}

const tlv = (tag: number, ...parts: (Uint8Array | number[])[]): Buffer => {
  const body = Buffer.concat(parts.map((p) => Buffer.from(p as number[])));
  if (body.length < 128) return Buffer.concat([Buffer.from([tag, body.length]), body]);
  const length = [];
  for (let n = body.length; n > 0; n >>>= 8) length.unshift(n & 255);
  return Buffer.concat([Buffer.from([tag, 0x80 | length.length, ...length]), body]);
};
const sequence = (...parts: Uint8Array[]) => tlv(0x30, ...parts);
const oid = (text: string) => {
  const [a, b, ...rest] = text.split('.').map(Number) as [number, number, ...number[]];
  const bytes = [a * 40 + b];
  for (const n of rest) {
    const part = [n & 127];
    for (let m = n >>> 7; m > 0; m >>>= 7) part.unshift((m & 127) | 128);
    bytes.push(...part);
  }
  return tlv(6, bytes);
};
const name = (common: string) => sequence(tlv(0x31, sequence(oid('2.5.4.3'), tlv(0x0c, Buffer.from(common)))));
const time = (ms: number) =>
  tlv(0x18, Buffer.from(`${new Date(ms).toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`));
const ECDSA_SHA256 = sequence(oid('1.2.840.10045.4.3.2'));
const pem = (der: Uint8Array) =>
  `-----BEGIN CERTIFICATE-----\n${Buffer.from(der).toString('base64').replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`;
const DAY = 86_400_000;

function extension(id: string, critical: boolean, value: Uint8Array): Buffer {
  return sequence(oid(id), ...(critical ? [tlv(1, [255])] : []), tlv(4, value));
}

function alternativeNames(names: readonly string[]): Buffer {
  return sequence(
    ...names.map((n) =>
      isIP(n) === 4
        ? tlv(0x87, n.split('.').map(Number))
        : n === '::1'
          ? tlv(0x87, [...Array(15).fill(0), 1])
          : tlv(0x82, Buffer.from(n)),
    ),
  );
}

function make(
  subject: string,
  issuer: { name: string; key: KeyObject | undefined },
  names: readonly string[],
  ca: boolean,
  expired: boolean,
) {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const now = Date.now();
  const serial = randomBytes(8);
  serial[0]! = (serial[0]! & 0x7f) | 1;
  const extensions = [extension('2.5.29.19', true, ca ? sequence(tlv(1, [255])) : sequence())];
  if (names.length > 0) extensions.push(extension('2.5.29.17', false, alternativeNames(names)));
  const body = sequence(
    tlv(0xa0, tlv(2, [2])),
    tlv(2, serial),
    ECDSA_SHA256,
    name(issuer.name),
    sequence(time(now - 10 * DAY), time(now + (expired ? -DAY : DAY))),
    name(subject),
    publicKey.export({ type: 'spki', format: 'der' }),
    tlv(0xa3, sequence(...extensions)),
  );
  const signature = sign('sha256', body, issuer.key ?? privateKey);
  return {
    cert: pem(sequence(body, ECDSA_SHA256, tlv(3, [0], signature))),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
  };
}

/** A new authority; each has its own key, so certificates of one mean nothing to another. */
export function authority(common = 'test authority'): Authority {
  const own = make(common, { name: common, key: undefined }, [], true, false);
  const key = createPrivateKey(own.key);
  return {
    ...own,
    issue: (names, { expired = false, commonName = names[0] ?? 'test' } = {}) =>
      make(commonName, { name: common, key }, names, false, expired),
  };
}
