/** Numbers as each exporter prints them. */

/** Python's prometheus_client: `12.0`, `0.25`, `1.048576e+06`, `1e-05`. */
export function python(x: number): string {
  if (Number.isInteger(x)) {
    const abs = x < 0 ? -x : x;
    if (abs < 1e6) return `${x}.0`;
    return x > 0 && abs < 1e16 ? pythonBig(`${x}.0`) : exponent(x);
  }
  if (x === Number.POSITIVE_INFINITY) return '+Inf';
  if (x === Number.NEGATIVE_INFINITY) return '-Inf';
  if (Number.isNaN(x)) return 'NaN';
  const abs = x < 0 ? -x : x;
  if (abs < 1e-4) return exponent(x);
  const text = String(x);
  return x >= 1e6 ? pythonBig(text) : text;
}

/** The client moves the point of numbers with more than six digits before it. */
function pythonBig(text: string): string {
  const dot = text.indexOf('.');
  if (dot <= 6) return text;
  const mantissa = `${text[0]}.${text.slice(1, dot)}${text.slice(dot + 1)}`.replace(/0+$/, '').replace(/\.$/, '');
  const e = dot - 1;
  return `${mantissa}e+${e < 10 ? '0' : ''}${e}`;
}

function exponent(x: number): string {
  const [mantissa, e] = x.toExponential().split('e') as [string, string];
  const sign = e.startsWith('-') ? '-' : '+';
  return `${mantissa}e${sign}${e.replace(/[+-]/, '').padStart(2, '0')}`;
}

/** Go's client library: the shortest form, with an exponent below 1e-4 and from 1e6 up, as strconv's 'g' does it. */
export function go(x: number): string {
  if (x === 0) return '0';
  if (x === Number.POSITIVE_INFINITY) return '+Inf';
  if (Number.isNaN(x)) return 'NaN';
  const abs = x < 0 ? -x : x;
  if (abs >= 1e-4 && abs < 1e6) return String(x);
  return exponent(x);
}

/** Rust's client library: never an exponent. */
export function rust(x: number): string {
  if (x === Number.POSITIVE_INFINITY) return '+Inf';
  if (Number.isNaN(x)) return 'NaN';
  const text = String(x);
  return text.includes('e') ? x.toFixed(12).replace(/0+$/, '').replace(/\.$/, '') : text;
}

/** dcgm-exporter: integer fields as integers, floating fields with six digits. */
export const six = (x: number): string => x.toFixed(6);
export const whole = (x: number): string => String(Math.round(x));
