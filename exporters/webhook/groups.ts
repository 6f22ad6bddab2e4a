/** Which alerts belong together, and what they have in common. */

type Labels = Readonly<Record<string, string>>;

/** The group of an alert: the labels it is told apart by, and a key in the form that Alertmanager uses. */
export function groupOf(labels: Labels, by: readonly string[]): { key: string; labels: Labels } {
  const own: Record<string, string> = {};
  for (const name of by) if (Object.hasOwn(labels, name)) own[name] = labels[name]!;
  const text = Object.entries(own)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
    .join(', ');
  return { key: `{}:{${text}}`, labels: own };
}

/** The entries that all maps agree in. */
export function commonOf(list: readonly Labels[]): Labels {
  const common: Record<string, string> = { ...list[0] };
  for (const labels of list) {
    for (const name of Object.keys(common)) if (labels[name] !== common[name]) delete common[name];
  }
  return common;
}
