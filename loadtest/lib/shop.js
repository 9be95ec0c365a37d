// A shop's side of the contract: it asks again, with the same key, until it has an answer.

import { sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import { bodyOf, node, problemOf, redemption, refund, resolve } from './api.js';

// undecided counts up with each request that begins and down with each that ends in an answer: it also shows what was interrupted,
// or failed in the script itself. unaccounted is what was acknowledged, less what the ledger has: books.js takes that off.
const undecided = new Counter('undecided');
const acknowledged = new Counter('acknowledged');
const unaccounted = new Counter('unaccounted');
const unaccountedBack = new Counter('unaccounted_given_back');
const refusals = {
  'budget-exhausted': new Counter('sold_out'),
  'budget-insufficient': new Counter('too_few_left'),
  'budget-held': new Counter('held_back'),
  'user-limit-reached': new Counter('over_limit'),
};
const otherRefusals = new Counter('refused_otherwise');
const askedAgain = new Counter('asked_again');
const decidedIn = new Trend('decided_in', true); // from the first attempt on, pauses included

// How long a shop asks again before it gives up, in seconds.
const patience = 60;

// redeem redeems as the i-th customer. One who is patient waits when units may come back; one who stays asks the same node again.
//
// The outcome's status is 201, or that of a refusal; 0: undecided.
export function redeem(i, offer, key, body, how = {}) {
  const units = body.units || 1;
  const outcome = decide(i, (target) => redemption(target, offer, key, body), how);
  if (outcome.status === 201) {
    acknowledged.add(1);
    unaccounted.add(units);
  } else if (outcome.status !== 0) {
    (refusals[outcome.problem] || otherRefusals).add(1);
  }
  return outcome;
}

// giveBack refunds some units of a redemption, or with none given, the rest of it.
export function giveBack(i, redemptionID, key, body) {
  const outcome = decide(i, (target) => refund(target, redemptionID, key, body));
  if (outcome.status === 201) {
    unaccountedBack.add(outcome.body.units);
  }
  return outcome;
}

// repeatRefund asks for a refund that was made before, under its key.
export function repeatRefund(i, redemptionID, key, body) {
  return decide(i, (target) => refund(target, redemptionID, key, body));
}

// end confirms or cancels a hold of so many units.
export function end(i, verb, redemptionID, units) {
  const outcome = decide(i, (target) => resolve(target, verb, redemptionID));
  if (outcome.status === 200 && verb === 'cancel') {
    unaccountedBack.add(units);
  }
  return outcome;
}

// decide repeats a call, on the next node each time, until it is decided.
function decide(i, call, { patient = false, stays = false } = {}) {
  const began = Date.now();
  undecided.add(1);
  for (let attempt = 0; ; attempt++) {
    const answer = call(node(stays ? i : i + attempt));
    const body = bodyOf(answer);
    const problem = problemOf(answer);
    if (final(answer, body, problem, patient)) {
      undecided.add(-1);
      decidedIn.add(Date.now() - began);
      return { status: answer.status, body, problem };
    }
    const pause = Math.min((body.retry_after_ms || 100) / 1000, 2) * (0.75 + Math.random() / 2);
    if ((Date.now() - began) / 1000 + pause > patience) {
      return { status: 0, body, problem };
    }
    askedAgain.add(1);
    sleep(pause);
  }
}

// final reports whether an answer will be the same if asked again, or is taken for it.
function final(answer, body, problem, patient) {
  switch (true) {
    case answer.status === 0 || answer.status >= 500 || answer.status === 429: return false;
    case answer.status < 300: return true;
    case problem === 'budget-held': return !patient;
    default: return body.retryable !== true;
  }
}
