/** What the package `enginelight` exports: all that a plug-in needs. */
export { type AnySchema, options, resolve, Secret, t } from '../config/schema.ts';
export * from './component.ts';
export * from './errors.ts';
export * from './model.ts';
