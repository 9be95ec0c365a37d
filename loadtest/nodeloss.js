// A node dies under load, and is started again. Something else has to kill it: run.sh does that with one of its own.
//
// RATE (150) redemptions a second for DURATION (30s). Customers whose node does not answer ask the next one, with the same key.
// MODE (strict) is the offer's. P99 (3000) ms is for the decision, with what was asked again. The run fails, too, if no node was lost, or if
// it is not back in the end: what it acknowledged last is in its journal.

import { check } from 'k6';
import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
import { createOffers, newRun, node } from './lib/api.js';
import { audit, lookFor } from './lib/books.js';
import { arrivals, glances, load } from './lib/load.js';
import { report } from './lib/report.js';
import { seconds, text, whole } from './lib/settings.js';
import * as shop from './lib/shop.js';

const rate = whole('RATE', 150);
const duration = seconds('DURATION', '30s');
const mode = text('MODE', 'strict');

const away = new Counter('seen_away');

export const options = load({
  redeem: arrivals('redeem', rate, duration),
  balance: glances('balance', 5, duration),
}, {
  http_req_failed: null, // a node that is away fails them; what counts is what becomes of the customer
  decided_in: [`p(99)<${whole('P99', 3000)}`],
  seen_away: ['count>0'],
});
export const handleSummary = report('nodeloss', 'A node dies and comes back: customers go to the next one, and nothing is lost or counted twice.');

export function setup() {
  const run = newRun();
  const offer = `nodeloss-${run}`;
  createOffers([{ id: offer, name: `Node loss ${run}`, budget: rate * duration * 100, mode }]);
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
