/** What the tests of GPU receivers ask about: the last value of a series. */
import { isNumberPoint, type Point } from '../../../pipeline/model.ts';

/** The last value of a metric whose attributes (of point and resource) include these. */
export function last(
  points: readonly Point[],
  name: string,
  attributes: Readonly<Record<string, unknown>> = {},
): number | undefined {
  const found = points.filter(
    (p) =>
      p.series.metric.name === name &&
      Object.entries(attributes).every(([k, v]) => (p.series.attributes[k] ?? p.series.resource.attributes[k]) === v),
  );
  const point = found.at(-1);
  return point && isNumberPoint(point) ? Number(point.value) : undefined;
}
