/**
 * Property tests draw the same examples in every run, so that a change and not chance decides whether they pass; `npm run fuzz`
 * draws others each time, and says the seed of what it finds.
 */
import fc from 'fast-check';

if (process.env['ENGINELIGHT_FUZZ_RUNS'] === undefined) fc.configureGlobal({ seed: 20_261_201 });
