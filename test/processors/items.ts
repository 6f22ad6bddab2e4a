/** Items for the tests of processors. */
import {
  type Attributes,
  gauge,
  type LogRecord,
  type NumberPoint,
  type Resource,
  resource,
  type Series,
  type Span,
  scope,
} from '../../pipeline/model.ts';

export const SCOPE = scope('lib', '1.2');

export const series = (name: string, attributes: Attributes = {}, about: Resource = resource({})): Series => ({
  resource: about,
  scope: SCOPE,
  metric: gauge(name, '1'),
  attributes,
});

export const point = (of: Series, value = 1): NumberPoint => ({ series: of, time: 1n, startTime: 0n, flags: 0, value });

export const span = (name: string, attributes: Attributes = {}, about: Resource = resource({})): Span => ({
  resource: about,
  scope: SCOPE,
  traceId: 'a'.repeat(32),
  spanId: 'b'.repeat(16),
  parentSpanId: '',
  traceState: '',
  flags: 0,
  name,
  kind: 2,
  startTime: 1n,
  endTime: 2n,
  attributes,
  droppedAttributesCount: 0,
  events: [],
  droppedEventsCount: 0,
  links: [],
  droppedLinksCount: 0,
  status: { code: 0, message: '' },
});

export const record = (
  body: string,
  severityNumber = 9,
  attributes: Attributes = {},
  about: Resource = resource({}),
): LogRecord => ({
  resource: about,
  scope: SCOPE,
  time: 1n,
  observedTime: 1n,
  severityNumber,
  severityText: severityNumber >= 17 ? 'ERROR' : 'INFO',
  body,
  attributes,
  droppedAttributesCount: 0,
  flags: 0,
  traceId: '',
  spanId: '',
  eventName: '',
});
