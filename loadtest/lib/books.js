// The books of an offer, and what must be true of them whatever has happened.

import { check, fail, sleep } from 'k6';
import { Counter } from 'k6/metrics';
import { balance, ledgerPage, metric } from './api.js';
import { targets } from './settings.js';

const unaccounted = new Counter('unaccounted');
const unaccountedBack = new Counter('unaccounted_given_back');

// addsUp holds the identities of the books against a balance.
export function addsUp(b) {
  return b.unallocated === b.budget - b.allocated && b.allocated === b.net_spent + b.outstanding &&
    b.net_spent === b.redeemed + b.held - b.refunded && b.net_spent <= b.budget && b.overspend === 0;
}

// look reads a balance during the run.
export function look(target, offer) {
  check(balance(target, offer), { 'the balance adds up': (a) => a.status === 200 && addsUp(a.json()) });
}

// lookFor is look while something is expected to be away. It reports whether it was.
export function lookFor(target, offer) {
  const answer = balance(target, offer);
  const away = answer.status === 0 || answer.status === 503;
  if (!away) {
    check(answer, { 'the balance adds up': (a) => a.status === 200 && addsUp(a.json()) });
  }
  return away;
}

// honest holds a refusal against the books: who hears a final "sold out" must find nothing left that could be sold, then and ever
// after, where nothing is refunded.
export function honest(outcome, target, offer) {
  if (outcome.problem === 'budget-exhausted') {
    check(balanceOf(target, offer), { 'sold out means that nothing is left': (b) => b.unallocated + b.outstanding + b.held === 0 });
  }
}

// audit is for the end of a run: every node must show the same books, they must add up, be what the ledger's entries come to,
// and hold exactly what was acknowledged. It gives the balance.
export function audit(offer) {
  settled();
  const sums = sumsOf(offer);
  unaccounted.add(-(sums.redeem + sums.hold));
  unaccountedBack.add(-(sums.refund + sums.cancel));
  let last;
  for (const target of targets) {
    last = balanceOf(target, offer);
    check(last, {
      'at the end the balance adds up': addsUp,
      'at the end it is what the ledger comes to': (b) => b.net_spent - b.forfeited === sums.redeem + sums.hold - sums.refund - sums.cancel - sums.expire,
    });
  }
  return last;
}

// auditAll is audit for very many offers: by their balances alone.
export function auditAll(offers) {
  settled();
  offers.forEach((offer, i) => {
    const b = balanceOf(targets[i % targets.length], offer);
    unaccounted.add(-(b.redeemed + b.held));
    check(b, { 'at the end every balance adds up': addsUp });
  });
}

// settled waits until no node has anything in its journal that is not in the ledger.
function settled() {
  for (const target of targets) {
    for (let tick = 0; metric(target, 'tranche_journal_backlog_records') !== 0; tick++) {
      if (tick === 600) {
        fail(`${target} has not settled its journal within a minute, or does not show its metrics`);
      }
      sleep(0.1);
    }
  }
}

// sumsOf adds up the units of all entries, by their kind.
function sumsOf(offer) {
  const sums = { redeem: 0, hold: 0, confirm: 0, cancel: 0, expire: 0, refund: 0, correction: 0 };
  let cursor;
  do {
    const answer = ledgerPage(targets[0], offer, cursor);
    if (answer.status !== 200) {
      fail(`no ledger: ${answer.status} ${answer.body || answer.error}`);
    }
    const page = answer.json();
    page.items.forEach((entry) => { sums[entry.kind] += entry.units; });
    cursor = page.next_cursor;
  } while (cursor);
  return sums;
}

export function balanceOf(target, offer) {
  const answer = balance(target, offer);
  if (answer.status !== 200) {
    fail(`no balance: ${answer.status} ${answer.body || answer.error}`);
  }
  return answer.json();
}
