// The database goes away under load, and comes back. Something else has to stop it: run.sh does that with its own.
//
// RATE redemptions a second (20; 150 in mode fast) for DURATION (40s). In MODE strict (the default) customers are told to ask again, and do;
// the outage must be shorter than the 60 s that they do it for. In mode fast no customer may notice: blocks are made large enough for
// OUTAGE (15s). P99 (50) ms is for fast only. The run fails, too, if no outage was seen.

import { check } from 'k6';
import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
import { createOffers, expecting, newRun, node } from './lib/api.js';
import { audit, lookFor } from './lib/books.js';
import { arrivals, glances, load } from './lib/load.js';
import { report } from './lib/report.js';
import { seconds, targets, text, whole } from './lib/settings.js';
import * as shop from './lib/shop.js';

const duration = seconds('DURATION', '40s');
const outage = seconds('OUTAGE', '15s');
const mode = text('MODE', 'strict');
const fast = mode === 'fast';
const rate = whole('RATE', fast ? 150 : 20);
// A node holds half a block at least. That has to last for the outage, and ten seconds in which the breaker closes again.
const block = Math.ceil((2 * rate * (outage + 10)) / targets.length);

const away = new Counter('seen_away');
expecting(503); // of balances; of redemptions, held against mode fast by asked_again

export const options = load({
  redeem: arrivals('redeem', rate, duration, fast ? {} : { preAllocatedVUs: rate * (outage + 5), maxVUs: rate * (outage + 10) }),
  balance: glances('balance', 2, duration),
}, {
  'http_req_duration{name:redeem}': fast ? [`p(99)<${whole('P99', 50)}`] : null,
  'http_req_failed{name:redeem}': ['rate==0'],
  asked_again: fast ? ['count==0'] : null,
  seen_away: ['count>0'],
});
export const handleSummary = report('outage', 'The database goes away and comes back: nothing that was acknowledged is lost, and in mode fast nobody notices.');

export function setup() {
  const run = newRun();
  const offer = `outage-${run}`;
  createOffers([{ id: offer, name: `Outage ${run}`, budget: block * targets.length * 50, mode, adaptive: false, lease_size: block }]);
  return { run, offer };
}

export function redeem({ run, offer }) {
  const i = exec.scenario.iterationInTest;
  const outcome = shop.redeem(i, offer, `${run}-${i}`, { user_id: `user-${i}` }, { patient: true });
  check(outcome, { 'redeemed in the end': (o) => o.status === 201 });
}

export function balance({ offer }) {
  if (lookFor(node(exec.scenario.iterationInTest), offer)) {
    away.add(1);
  }
}

export function teardown({ offer }) {
  audit(offer);
}
