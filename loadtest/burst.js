// A flash sale: everybody comes within the same second, and most of them in vain.
//
// CROWD (1000) customers within a second for BUDGET (500) units; who hears that units may come back waits for them. MODE (strict) is the
// offer's. P99 (3000) ms is for the decision, with what was asked again.

import { check } from 'k6';
import exec from 'k6/execution';
import { createOffers, newRun, node } from './lib/api.js';
import { audit, honest } from './lib/books.js';
import { arrive, crowd, load } from './lib/load.js';
import { report } from './lib/report.js';
import { text, whole } from './lib/settings.js';
import * as shop from './lib/shop.js';

const customers = whole('CROWD', 1000);
const budget = whole('BUDGET', 500);
const mode = text('MODE', 'strict');

export const options = load({
  redeem: crowd('redeem', customers),
}, {
  decided_in: [`p(99)<${whole('P99', 3000)}`],
});
export const handleSummary = report('burst', 'A flash sale, from nothing to all within a second: everybody is answered, and exactly the budget is sold.');

export function setup() {
  const run = newRun();
  const offer = `burst-${run}`;
  createOffers([{ id: offer, name: `Flash sale ${run}`, budget, mode }]);
  return { run, offer };
}

export function redeem({ run, offer }) {
  arrive();
  const i = exec.scenario.iterationInTest;
  const outcome = shop.redeem(i, offer, `${run}-${i}`, { user_id: `user-${i}` }, { patient: true });
  check(outcome, { 'redeemed or sold out': (o) => o.status === 201 || o.problem === 'budget-exhausted' });
  if (Math.random() < 0.2) {
    honest(outcome, node(i), offer);
  }
}

export function teardown({ offer }) {
  check(audit(offer), { 'at the end exactly the budget is sold': (b) => b.redeemed === Math.min(budget, customers) });
}
