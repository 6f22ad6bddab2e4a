/** For receivers that look at files: time is moved by the test, but disks take their own. */
import type { ManualClock } from './harness.ts';

/** Moves the clock in steps of `ms` until `done`, for at most half a minute of real time; without it, a few steps. */
export async function looking(clock: ManualClock, ms: number, done?: () => boolean): Promise<void> {
  const steps = done ? 3000 : 8;
  for (let i = 0; i < steps && !done?.(); i++) {
    await clock.advance(ms);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
