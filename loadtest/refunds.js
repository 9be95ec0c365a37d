// Redemptions and refunds side by side: whole and in part, again with the same key, on whichever node.
//
// RATE (100) customers a second for DURATION (30s) redeem two units each; REFUNDED (0.3) of them give units back at once, half of them
// only one. BUDGET (2000) is so small that what comes back is sold again. MODE (strict) is the offer's, P99 (250) ms is for a refund, which
// in mode fast waits until its redemption is settled.

import { check } from 'k6';
import exec from 'k6/execution';
import { createOffers, newRun, node } from './lib/api.js';
import { audit, look } from './lib/books.js';
import { arrivals, glances, load } from './lib/load.js';
import { report } from './lib/report.js';
import { part, seconds, text, whole } from './lib/settings.js';
import * as shop from './lib/shop.js';

const rate = whole('RATE', 100);
const duration = seconds('DURATION', '30s');
const budget = whole('BUDGET', 2000);
const refunded = part('REFUNDED', 0.3);
const mode = text('MODE', 'strict');

export const options = load({
  redeem: arrivals('redeem', rate, duration),
  balance: glances('balance', 5, duration),
}, {
  'http_req_duration{name:refund}': [`p(99)<${whole('P99', 250)}`],
});
export const handleSummary = report('refunds', 'Redemptions and refunds side by side: what comes back is sold again, and each refund counts once.');

export function setup() {
  const run = newRun();
  const offer = `refunds-${run}`;
  createOffers([{ id: offer, name: `Refunds ${run}`, budget, mode }]);
  return { run, offer };
}

export function redeem({ run, offer }) {
  const i = exec.scenario.iterationInTest;
  const bought = shop.redeem(i, offer, `${run}-${i}`, { user_id: `user-${i}`, units: 2 });
  if (bought.status !== 201 || Math.random() >= refunded) {
    return;
  }
  const body = Math.random() < 0.5 ? { units: 1 } : {};
  const first = shop.giveBack(i + 1, bought.body.id, 'return', body);
  check(first, { 'refunded as asked': (o) => o.status === 201 && o.body.units === (body.units || 2) });
  if (i % 5 === 0) {
    again(i + 2, bought.body.id, body, first.body);
  }
}

// again repeats a refund, which must not count twice.
function again(i, id, body, first) {
  const second = shop.repeatRefund(i, id, 'return', body);
  check(second, { 'a repeated refund is the same one': (o) => o.status === 201 && o.body.id === first.id });
}

export function balance({ offer }) {
  look(node(exec.scenario.iterationInTest), offer);
}

export function teardown({ offer }) {
  check(audit(offer), { 'at the end something was refunded': (b) => b.refunded > 0 || refunded === 0 });
}
