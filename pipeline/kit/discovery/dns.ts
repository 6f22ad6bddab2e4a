/** Targets from DNS: SRV records, or A and AAAA records with a port. Names that cannot be looked up keep their targets. */
import { promises as dns } from 'node:dns';
import { describeError } from '../../errors.ts';
import type { Discovery, TargetLabels } from './discovery.ts';

export interface Resolver {
  resolve4(name: string): Promise<string[]>;
  resolve6(name: string): Promise<string[]>;
  resolveSrv(name: string): Promise<{ name: string; port: number }[]>;
}

export interface DnsOptions {
  readonly names: readonly string[];
  readonly type: 'SRV' | 'A' | 'AAAA';
  /** For A and AAAA. */
  readonly port: number;
  readonly refreshMs: number;
  /** Default: the system's. */
  readonly resolver?: Resolver;
}

/** Answers that say "there is none", as opposed to "I cannot say". */
const NONE = new Set(['ENOTFOUND', 'ENODATA']);

export function fromDns(options: DnsOptions): Discovery {
  const resolver = options.resolver ?? dns;
  return async (update, { clock, log, problem }) => {
    const known = new Map<string, readonly TargetLabels[]>();
    const failures = new Map<string, string>();
    let stopped = false;
    let timer = { cancel() {} };
    let told = '';

    const lookUp = async (name: string): Promise<TargetLabels[]> => {
      const base = { __meta_dns_name: name };
      if (options.type === 'SRV') {
        return (await resolver.resolveSrv(name)).map((record) => ({
          ...base,
          __address__: `${record.name.replace(/\.$/, '')}:${record.port}`,
          __meta_dns_srv_record_target: record.name,
          __meta_dns_srv_record_port: String(record.port),
        }));
      }
      const six = options.type === 'AAAA';
      const addresses = await (six ? resolver.resolve6(name) : resolver.resolve4(name));
      return addresses.map((address) => ({
        ...base,
        __address__: six ? `[${address}]:${options.port}` : `${address}:${options.port}`,
      }));
    };

    const look = async () => {
      await Promise.all(
        options.names.map(async (name) => {
          try {
            known.set(name, await lookUp(name));
            if (failures.delete(name)) log.info('A name can be looked up again.', { name });
          } catch (error) {
            const { code = '' } = error as NodeJS.ErrnoException;
            // Kubernetes answers "no such name" for a headless service with no ready pod: that is an empty list.
            if (NONE.has(code)) known.set(name, []);
            const message = describeError(error);
            if (failures.get(name) !== message) {
              failures.set(name, message);
              log.warn('Cannot look up a name of targets.', {
                name,
                type: options.type,
                error: message,
                ...(NONE.has(code) ? {} : { keeping: `${known.get(name)?.length ?? 0} targets` }),
              });
            }
          }
        }),
      );
      const [first] = failures;
      problem(first && `DNS ${options.type} ${first[0]}: ${first[1]}`);
      // Resolvers rotate their answers.
      const targets = [...known.values()].flat().sort((a, b) => (a['__address__']! < b['__address__']! ? -1 : 1));
      const text = JSON.stringify(targets);
      if (text === told || stopped) return;
      told = text;
      update(targets);
    };

    const loop = () => {
      if (stopped) return;
      timer = clock.after(options.refreshMs, () => {
        running = look().then(loop);
      });
    };
    let running = look().then(loop);
    return {
      async stop() {
        stopped = true;
        timer.cancel();
        await running;
      },
    };
  };
}
