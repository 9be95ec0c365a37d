// Up in steps until the fleet can't follow: where the knee is, and that nothing is lost beyond it.
//
// STEPS (100,200,400,800,1600,3200) redemptions a second, STEP (10s) each, with pauses of PAUSE (2s) between them. Up to LEAST (400) a
// second the fleet must keep up: the 99th percentile below P99 (20) ms, nothing failed and no iteration dropped. What the steps
// above that do is shown, and must leave the books right. MODE (strict) and LEASE_SIZE (10000) are the offer's.

import { check } from 'k6';
import exec from 'k6/execution';
import { createOffers, expecting, newRun } from './lib/api.js';
import { audit } from './lib/books.js';
import { arrivals, load } from './lib/load.js';
import { report } from './lib/report.js';
import { seconds, text, whole } from './lib/settings.js';
import * as shop from './lib/shop.js';

const steps = text('STEPS', '100,200,400,800,1600,3200').split(',').map(Number);
const step = seconds('STEP', '10s');
const pause = seconds('PAUSE', '2s');
const least = whole('LEAST', 400);
const p99 = whole('P99', 20);
const mode = text('MODE', 'strict');
const leaseSize = whole('LEASE_SIZE', 10000);

expecting(429, 503); // beyond the knee; up to LEAST, they are held against the run by name

const scenarios = {};
const thresholds = { http_req_failed: null, dropped_iterations: null };
steps.forEach((rate, i) => {
  const name = `step_${rate}`;
  scenarios[name] = arrivals('redeem', rate, step, { startTime: `${i * (step + pause)}s` });
  const bound = rate <= least;
  thresholds[`http_req_duration{name:redeem,scenario:${name}}`] = [bound ? `p(99)<${p99}` : 'p(99)>=0']; // without a threshold it would not be shown
  thresholds[`dropped_iterations{scenario:${name}}`] = [bound ? 'count==0' : 'count>=0'];
  if (!bound) {
    thresholds[`iterations{scenario:${name}}`] = ['count>=0'];
  }
  thresholds[`asked_again{scenario:${name}}`] = [bound ? 'count==0' : 'count>=0'];
});

export const options = load(scenarios, thresholds);
export const handleSummary = report('ramp', `Up in steps to the knee: up to ${least} a second the fleet must keep up, and beyond it nothing may be lost.`);

export function setup() {
  const run = newRun();
  const offer = `ramp-${run}`;
  createOffers([{ id: offer, name: `Ramp ${run}`, budget: 1e9, mode, lease_size: leaseSize }]);
  return { run, offer };
}

export function redeem({ run, offer }) {
  const i = exec.scenario.iterationInTest;
  const key = `${run}-${exec.scenario.name}-${i}`;
  const outcome = shop.redeem(i, offer, key, { user_id: `user-${key}` });
  check(outcome, { 'no one hears "sold out"': (o) => o.status === 201 || o.status === 0 });
}

export function teardown({ offer }) {
  audit(offer);
}
