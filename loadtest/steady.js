// Redemptions of one hot offer at a steady rate over the nodes of a fleet, by new and by returning users.
//
// RATE (300) redemptions a second for DURATION (60s); BUDGET (10000), USER_LIMIT (1; 0 for none) and MODE (strict) are the
// offer's; USERS (any number) bounds the crowd; P99 (20) ms is what the 99th percentile must stay below.

import { check } from 'k6';
import exec from 'k6/execution';
import { createOffers, newRun, node, usage } from './lib/api.js';
import { audit, honest, look } from './lib/books.js';
import { arrivals, glances, load } from './lib/load.js';
import { report } from './lib/report.js';
import { seconds, text, whole } from './lib/settings.js';
import * as shop from './lib/shop.js';

const rate = whole('RATE', 300);
const duration = seconds('DURATION', '60s');
const budget = whole('BUDGET', 10000);
const userLimit = whole('USER_LIMIT', 1, 0);
const users = whole('USERS', Number.MAX_SAFE_INTEGER);
const mode = text('MODE', 'strict');

export const options = load({
  redeem: arrivals('redeem', rate, duration),
  balance: glances('balance', 5, duration),
}, {
  'http_req_duration{name:redeem}': [`p(99)<${whole('P99', 20)}`],
});
export const handleSummary = report('steady', 'One hot offer at a steady rate: how long a redemption takes, and that exactly what was wanted is redeemed.');

export function setup() {
  const run = newRun();
  const offer = text('OFFER', `load-${run}`);
  createOffers([{ id: offer, name: `Steady ${run}`, budget, mode, user_limit_redemptions: userLimit || null }]);
  return { run, offer };
}

export function redeem({ run, offer }) {
  const i = exec.scenario.iterationInTest;
  if (i >= rate * duration) {
    return; // the executor may fit in a few more
  }
  const outcome = shop.redeem(i, offer, `${run}-${i}`, { user_id: userOf(i), order_id: `${run}-order-${i}` });
  if (Math.random() < 0.1) {
    honest(outcome, node(i), offer);
  }
}

export function balance({ offer }) {
  look(node(exec.scenario.iterationInTest), offer);
}

export function teardown({ offer }) {
  const wanted = Math.min(budget, demand(rate * duration));
  check(audit(offer), {
    'at the end exactly what was wanted is redeemed': (b) => b.redeemed === wanted,
    'at the end all that is sold out is allocated': (b) => wanted < budget || b.allocated === budget,
  });
  for (let sample = 0; userLimit && sample < 200; sample++) {
    const user = userOf(Math.floor(Math.random() * rate * duration));
    check(usage(node(sample), offer, user), { 'no user is over the limit': (a) => a.status === 200 && a.json().redemptions <= userLimit });
  }
}

// userOf gives the user of the i-th request. Every fourth one has been here before.
function userOf(i) {
  const fresh = i - Math.floor((i + 1) / 4);
  return `user-${(i % 4 === 3 ? Math.floor(fresh / 2) : fresh) % users}`;
}

// demand is how many redemptions the first n requests come to, if the budget lasts.
function demand(n) {
  const counts = {};
  let total = 0;
  for (let i = 0; i < n; i++) {
    const user = userOf(i);
    counts[user] = (counts[user] || 0) + 1;
    if (!userLimit || counts[user] <= userLimit) {
      total++;
    }
  }
  return total;
}
