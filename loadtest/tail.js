// The last units, when other nodes hold some of them: they must reach the node that is asked.
//
// All nodes redeem once from a budget of BUDGET (50), in blocks of fixed size, and so each of them holds a few. Then CROWD (100) customers
// come within a second, all to the first node. All is to be sold within WITHIN (3000) ms, and nobody may hear a final "sold out" before.
// MODE (strict) and LEASE_TTL (60) are the offer's: without a recall, units would come back only when their lease has expired.

import { check } from 'k6';
import exec from 'k6/execution';
import { Trend } from 'k6/metrics';
import { createOffers, newRun, node } from './lib/api.js';
import { audit, honest } from './lib/books.js';
import { arrive, crowd, load } from './lib/load.js';
import { report } from './lib/report.js';
import { targets, text, whole } from './lib/settings.js';
import * as shop from './lib/shop.js';

const customers = whole('CROWD', 100);
const budget = whole('BUDGET', 50);
const mode = text('MODE', 'strict');
const ttl = whole('LEASE_TTL', 60);

const soldAfter = new Trend('sold_after', true); // from the first customer on

export const options = load({
  redeem: crowd('redeem', customers),
}, {
  sold_after: [`max<${whole('WITHIN', 3000)}`],
});
export const handleSummary = report('tail', 'The last units are spread over several nodes and all customers come to one: all of them are sold, soon.');

export function setup() {
  const run = newRun();
  const offer = `tail-${run}`;
  createOffers([{ id: offer, name: `Tail ${run}`, budget, mode, adaptive: false, lease_ttl_seconds: ttl }]);
  targets.forEach((_, i) => shop.redeem(i, offer, `${run}-first-${i}`, { user_id: `first-${i}` }));
  return { run, offer };
}

export function redeem({ run, offer }) {
  arrive();
  const i = exec.scenario.iterationInTest;
  const outcome = shop.redeem(0, offer, `${run}-${i}`, { user_id: `user-${i}` }, { patient: true, stays: true });
  if (outcome.status === 201) {
    soldAfter.add(Date.now() - exec.scenario.startTime);
  }
  honest(outcome, node(0), offer);
}

export function teardown({ offer }) {
  check(audit(offer), { 'at the end all is sold': (b) => b.redeemed === Math.min(budget, customers + targets.length) });
}
