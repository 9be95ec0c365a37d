// The calls of the service. Each is told apart in the metrics by its name: an address with an id in it would make a metric of
// its own for each.

import http from 'k6/http';
import { fail } from 'k6';
import { adminKey, checkoutKey, targets } from './settings.js';

// Refusals are answers: sold out, or over the limit, is what most of a crowd hears. Any other status counts as a failed request, but for
// those that a script says it expects.
export function expecting(...more) {
  http.setResponseCallback(http.expectedStatuses(200, 201, 409, ...more));
}
expecting();

// node gives the address of the i-th node, round and round.
export function node(i) {
  return targets[i % targets.length];
}

export function redemption(target, offer, idempotencyKey, body) {
  return post('redeem', `${target}/v1/offers/${offer}/redemptions`, body, checkoutKey, idempotencyKey);
}

export function refund(target, redemptionID, idempotencyKey, body) {
  return post('refund', `${target}/v1/redemptions/${redemptionID}/refunds`, body, checkoutKey, idempotencyKey);
}

// resolve ends a hold: verb is confirm or cancel.
export function resolve(target, verb, redemptionID) {
  return post(verb, `${target}/v1/redemptions/${redemptionID}/${verb}`, {}, checkoutKey);
}

export function balance(target, offer) {
  return get('balance', `${target}/v1/offers/${offer}/balance`, checkoutKey);
}

export function usage(target, offer, user) {
  return get('usage', `${target}/v1/offers/${offer}/users/${user}`, checkoutKey);
}

export function lookUp(target, redemptionID) {
  return get('look-up', `${target}/v1/redemptions/${redemptionID}`, checkoutKey);
}

export function ledgerPage(target, offer, cursor) {
  const after = cursor ? `&cursor=${encodeURIComponent(cursor)}` : '';
  return get('ledger', `${target}/v1/offers/${offer}/ledger?limit=1000${after}`, adminKey);
}

// metric reads one figure that a node exports, or undefined.
export function metric(target, name) {
  const answer = get('metrics', `${target}/metrics`, adminKey || checkoutKey);
  const line = answer.status === 200 && answer.body.match(new RegExp(`^${name} (\\S+)$`, 'm'));
  return line ? Number(line[1]) : undefined;
}

// newRun gives a name that no other run has.
export function newRun() {
  return Date.now().toString(36) + Math.floor(Math.random() * 0x1000000).toString(36);
}

// createOffers makes offers, twenty at a time, and ends the run if it can't.
export function createOffers(list) {
  for (let i = 0; i < list.length; i += 20) {
    const calls = list.slice(i, i + 20).map((terms) => (
      ['POST', `${targets[0]}/v1/offers`, JSON.stringify({ unit: 'redemptions', ...terms }), params('create', adminKey)]
    ));
    for (const answer of http.batch(calls)) {
      if (answer.status !== 201) {
        fail(`no offer: ${answer.status} ${answer.body || answer.error}`);
      }
    }
  }
}

// problemOf gives the name of the problem that an answer tells of.
export function problemOf(answer) {
  return String(bodyOf(answer).type || '').replace('/problems/', '');
}

// bodyOf gives an answer's JSON, or an empty object where there is none.
export function bodyOf(answer) {
  try {
    return answer.json() || {};
  } catch {
    return {};
  }
}

function post(name, url, body, key, idempotencyKey) {
  return http.post(url, JSON.stringify(body), params(name, key, idempotencyKey));
}

function get(name, url, key) {
  return http.get(url, params(name, key));
}

function params(name, key, idempotencyKey) {
  const headers = { 'Content-Type': 'application/json' };
  if (key) {
    headers.Authorization = `Bearer ${key}`;
  }
  if (idempotencyKey) {
    headers['Idempotency-Key'] = idempotencyKey;
  }
  return { tags: { name }, headers, timeout: '15s' };
}
