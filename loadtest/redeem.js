// Redemptions of one offer at a steady rate over the nodes of a fleet, by new and by returning users.
//
//   k6 run -e TARGETS=http://127.0.0.1:8081,http://127.0.0.1:8082 loadtest/redeem.js
//
// RATE (300) redemptions a second for DURATION (60s); BUDGET (10000), USER_LIMIT (1); USERS (any number) bounds the crowd;
// OFFER is the new offer's id (one per run, by default); ADMIN_KEY and CHECKOUT_KEY where the nodes have keys.
//
// The rate does not wait for answers, as customers don't. The run fails when a request is not decided, when 1 in 100 takes 20 ms or
// longer, when the load generator can't keep up, when a balance read during the run does not add up, or when the end result is off.

import http from 'k6/http';
import { check, fail } from 'k6';
import exec from 'k6/execution';

const targets = (__ENV.TARGETS || 'http://127.0.0.1:8080').split(',');
const rate = whole('RATE', 300);
const duration = __ENV.DURATION || '60s';
const budget = whole('BUDGET', 10000);
const userLimit = whole('USER_LIMIT', 1);
const users = whole('USERS', Number.MAX_SAFE_INTEGER);

export const options = {
  scenarios: {
    redeem: {
      executor: 'constant-arrival-rate', exec: 'redeem', rate, timeUnit: '1s', duration,
      preAllocatedVUs: 100, maxVUs: 600,
    },
    balance: {
      executor: 'constant-arrival-rate', exec: 'balance', rate: 5, timeUnit: '1s', duration,
      preAllocatedVUs: 5, maxVUs: 50,
    },
  },
  thresholds: {
    'http_req_duration{name:redeem}': ['p(99)<20'],
    http_req_failed: ['rate==0'],
    checks: ['rate==1'],
    dropped_iterations: ['count==0'],
  },
  summaryTrendStats: ['avg', 'p(50)', 'p(95)', 'p(99)', 'p(99.9)', 'max'],
  // Calls are told apart by name: an address with an id in it would make a metric of its own for each.
  systemTags: ['status', 'method', 'name', 'scenario', 'check', 'error_code'],
};

// A refusal is an answer: sold out, or over the limit, is what most of the crowd hears.
http.setResponseCallback(http.expectedStatuses(200, 201, 409));

export function setup() {
  const run = Date.now().toString(36) + Math.floor(Math.random() * 0x1000000).toString(36);
  const offer = __ENV.OFFER || `load-${run}`;
  const created = http.post(`${targets[0]}/v1/offers`, JSON.stringify({
    id: offer, name: `Load run ${run}`, unit: 'redemptions', budget, user_limit_redemptions: userLimit,
  }), params('create', __ENV.ADMIN_KEY));
  if (created.status !== 201) {
    fail(`no offer: ${created.status} ${created.body}`);
  }
  return { run, offer };
}

export function redeem({ run, offer }) {
  const i = exec.scenario.iterationInTest;
  const answer = http.post(`${targets[i % targets.length]}/v1/offers/${offer}/redemptions`,
    JSON.stringify({ user_id: userOf(i), order_id: `${run}-order-${i}` }),
    params('redeem', __ENV.CHECKOUT_KEY, { 'Idempotency-Key': `${run}-${i}` }));
  check(answer, { 'redeemed or refused': (a) => a.status === 201 || a.status === 409 });
}

export function balance({ offer }) {
  const i = exec.scenario.iterationInTest;
  const answer = http.get(`${targets[i % targets.length]}/v1/offers/${offer}/balance`, params('balance', __ENV.CHECKOUT_KEY));
  check(answer, { 'the balance adds up': (a) => a.status === 200 && addsUp(a.json()) });
}

export function teardown({ offer }) {
  const seconds = secondsOf(duration);
  const least = Math.min(budget, demand(rate * seconds));
  const most = Math.min(budget, demand(rate * seconds + 1)); // the executor may fit one more in
  for (const target of targets) {
    const b = http.get(`${target}/v1/offers/${offer}/balance`, params('balance', __ENV.CHECKOUT_KEY)).json();
    check(b, {
      'at the end the balance adds up': addsUp,
      'at the end exactly what was wanted is redeemed': () => b.redeemed >= least && b.redeemed <= most,
      'at the end all that is sold out is allocated': () => least < budget || b.allocated === budget,
    });
  }
  for (let sample = 0; sample < 200; sample++) {
    const i = Math.floor(Math.random() * rate * seconds);
    const answer = http.get(`${targets[sample % targets.length]}/v1/offers/${offer}/users/${userOf(i)}`, params('usage', __ENV.CHECKOUT_KEY));
    check(answer, { 'no user is over the limit': (a) => a.status === 200 && a.json().redemptions <= userLimit });
  }
}

// addsUp holds the identities of the books against a balance.
function addsUp(b) {
  return b.unallocated === b.budget - b.allocated && b.allocated === b.net_spent + b.outstanding &&
    b.net_spent === b.redeemed + b.held - b.refunded && b.net_spent <= b.budget && b.overspend === 0;
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
    if (counts[user] <= userLimit) {
      total++;
    }
  }
  return total;
}

function params(name, key, headers = {}) {
  headers['Content-Type'] = 'application/json';
  if (key) {
    headers.Authorization = `Bearer ${key}`;
  }
  return { tags: { name }, headers };
}

function whole(name, fallback) {
  const value = Number(__ENV[name] || fallback);
  if (!Number.isSafeInteger(value) || value < 1) {
    throw new Error(`${name} must be a whole number from 1 on, not ${__ENV[name]}`);
  }
  return value;
}

function secondsOf(text) {
  const units = { h: 3600, m: 60, s: 1 };
  const parts = text.match(/^(\d+h)?(\d+m)?(\d+s)?$/);
  if (!parts || !text) {
    throw new Error(`DURATION is written like 1m30s, not ${text}`);
  }
  return parts.slice(1).filter(Boolean).reduce((sum, part) => sum + parseInt(part, 10) * units[part.slice(-1)], 0);
}
