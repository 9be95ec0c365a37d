// A shop's whole day in small, for as long as one likes: redemptions, look-ups, refunds, and what the nodes' memory does.
//
// RATE (100) customers a second for DURATION (1h); every tenth gives back what was bought, every third looks it up. BUDGET (1000000000);
// MODE (strict) is the offer's, P99 (20) ms for a redemption. GROWTH (64) MB is what a node's memory may grow by after the first tenth.

import { check, sleep } from 'k6';
import exec from 'k6/execution';
import { Trend } from 'k6/metrics';
import { createOffers, lookUp, metric, newRun, node } from './lib/api.js';
import { audit, look } from './lib/books.js';
import { arrivals, glances, load } from './lib/load.js';
import { report } from './lib/report.js';
import { seconds, targets, text, whole } from './lib/settings.js';
import * as shop from './lib/shop.js';

const rate = whole('RATE', 100);
const duration = seconds('DURATION', '1h');
const budget = whole('BUDGET', 1e9);
const mode = text('MODE', 'strict');

const grown = new Trend('memory_grown_mb');
const first = {}; // a node's memory when it was warm; the one virtual user of its scenario has it

export const options = load({
  shop: arrivals('shopping', rate, duration),
  balance: glances('balance', 1, duration),
  memory: {
    executor: 'constant-vus', exec: 'memory', vus: 1, duration: `${Math.ceil(duration * 0.9)}s`, startTime: `${Math.floor(duration / 10)}s`,
  },
}, {
  'http_req_duration{name:redeem}': [`p(99)<${whole('P99', 20)}`],
  memory_grown_mb: [`max<${whole('GROWTH', 64)}`],
});
export const handleSummary = report('soak', 'For hours: no request fails, nothing slows down, and the memory of the nodes stays where it is.');

export function setup() {
  const run = newRun();
  const offer = `soak-${run}`;
  createOffers([{ id: offer, name: `Soak ${run}`, budget, mode }]);
  return { run, offer };
}

export function shopping({ run, offer }) {
  const i = exec.scenario.iterationInTest;
  const bought = shop.redeem(i, offer, `${run}-${i}`, { user_id: `user-${i % 100000}`, order_id: `order-${i}` });
  if (bought.status !== 201) {
    return;
  }
  if (i % 3 === 0) {
    check(lookUp(node(i + 1), bought.body.id), { 'what was bought is found': (a) => a.status === 200 });
  }
  if (i % 10 === 0) {
    shop.giveBack(i + 2, bought.body.id, 'return', {});
  }
}

export function balance({ offer }) {
  look(node(exec.scenario.iterationInTest), offer);
}

// memory notes how much the nodes have grown, every five seconds.
export function memory() {
  targets.forEach((target) => {
    const bytes = metric(target, 'process_resident_memory_bytes');
    if (bytes !== undefined) {
      first[target] = first[target] || bytes;
      grown.add((bytes - first[target]) / 1e6);
    }
  });
  sleep(5);
}

export function teardown({ offer }) {
  audit(offer);
}
