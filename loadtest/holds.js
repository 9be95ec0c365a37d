// Carts: units are held, then paid for, given up, or forgotten.
//
// RATE (50) carts a second for DURATION (30s), held for HOLD (5) seconds: CANCELLED (0.15) of them are cancelled and ABANDONED (0.25)
// are left to expire, after up to two seconds of thought; the others are confirmed. BUDGET (100000); MODE (strict) is the offer's. P99 (250) ms
// is for a hold, a confirmation and a cancellation.

import { check, sleep } from 'k6';
import exec from 'k6/execution';
import { Counter } from 'k6/metrics';
import { createOffers, newRun, node } from './lib/api.js';
import { audit, balanceOf, look } from './lib/books.js';
import { arrivals, glances, load } from './lib/load.js';
import { report } from './lib/report.js';
import { part, seconds, text, whole } from './lib/settings.js';
import * as shop from './lib/shop.js';

const rate = whole('RATE', 50);
const duration = seconds('DURATION', '30s');
const hold = whole('HOLD', 5);
const cancelled = part('CANCELLED', 0.15);
const abandoned = part('ABANDONED', 0.25);
const budget = whole('BUDGET', 100000);
const mode = text('MODE', 'strict');
const p99 = whole('P99', 250);

const unpaid = new Counter('confirmed_and_not_spent'); // units that were confirmed, less what the balance says is spent

export const options = load({
  cart: arrivals('cart', rate, duration, { preAllocatedVUs: 2 * rate + 50, maxVUs: 4 * rate + 100 }),
  balance: glances('balance', 5, duration),
}, {
  'http_req_duration{name:redeem}': [`p(99)<${p99}`],
  'http_req_duration{name:confirm}': [`p(99)<${p99}`],
  'http_req_duration{name:cancel}': [`p(99)<${p99}`],
  confirmed_and_not_spent: ['count==0'],
});
export const handleSummary = report('holds', 'Carts that are paid for, given up or forgotten: what is forgotten comes back, and only what was paid for is spent.');

export function setup() {
  const run = newRun();
  const offer = `holds-${run}`;
  createOffers([{ id: offer, name: `Carts ${run}`, budget, mode }]);
  return { run, offer };
}

export function cart({ run, offer }) {
  const i = exec.scenario.iterationInTest;
  const units = 1 + (i % 3);
  const held = shop.redeem(i, offer, `${run}-${i}`, { user_id: `user-${i}`, units, hold_seconds: hold });
  check(held, { 'the cart is held': (o) => o.status === 201 && o.body.state === 'held' });
  const fate = Math.random();
  if (held.status !== 201 || fate < abandoned) {
    return;
  }
  sleep(Math.random() * Math.min(2, hold / 2));
  const verb = fate < abandoned + cancelled ? 'cancel' : 'confirm';
  const ended = shop.end(i + 1, verb, held.body.id, units);
  check(ended, { 'confirmed or cancelled as asked': (o) => o.status === 200 && o.body.state === (verb === 'cancel' ? 'cancelled' : 'redeemed') });
  if (ended.status === 200 && verb === 'confirm') {
    unpaid.add(units);
  }
}

export function balance({ offer }) {
  look(node(exec.scenario.iterationInTest), offer);
}

export function teardown({ offer }) {
  for (let tick = 0; tick < 300 && balanceOf(node(0), offer).held > 0; tick++) {
    sleep(0.1 + hold / 300);
  }
  const b = audit(offer);
  check(b, { 'at the end nothing is held any more': () => b.held === 0 });
  unpaid.add(-b.net_spent);
}
