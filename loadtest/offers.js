// Very many offers, a few of them hot: the k-th most wanted is asked for a k-th as often as the first (Zipf).
//
// RATE (300) redemptions a second for DURATION (60s) over OFFERS (10000) offers of BUDGET (100000) each; MODE (strict) is theirs, P99 (150; 30 in mode fast) ms
// what the 99th percentile must stay below: in a strict offer that few ask for, a redemption waits for a grant and a commit. Making the
// offers comes first, and takes its time.

import exec from 'k6/execution';
import { createOffers, newRun } from './lib/api.js';
import { auditAll } from './lib/books.js';
import { arrivals, load } from './lib/load.js';
import { report } from './lib/report.js';
import { seconds, text, whole } from './lib/settings.js';
import * as shop from './lib/shop.js';

const rate = whole('RATE', 300);
const duration = seconds('DURATION', '60s');
const offers = whole('OFFERS', 10000);
const budget = whole('BUDGET', 100000);
const mode = text('MODE', 'strict');

export const options = load({ redeem: arrivals('redeem', rate, duration) }, {
  'http_req_duration{name:redeem}': [`p(99)<${whole('P99', mode === 'fast' ? 30 : 150)}`],
});
export const handleSummary = report('offers', 'Very many offers with a few hot ones: the cold ones cost little, and all books add up.');

export function setup() {
  const run = newRun();
  createOffers(Array.from({ length: offers }, (_, i) => ({ id: offerOf(run, i), name: `Offer ${i}`, budget, mode })));
  return { run };
}

export function redeem({ run }) {
  const i = exec.scenario.iterationInTest;
  const rank = Math.floor((offers + 1) ** Math.random()) - 1; // its density falls with one over the rank
  shop.redeem(i, offerOf(run, rank), `${run}-${i}`, { user_id: `user-${i}` });
}

export function teardown({ run }) {
  auditAll(Array.from({ length: offers }, (_, i) => offerOf(run, i)));
}

function offerOf(run, i) {
  return `many-${run}-${i}`;
}
