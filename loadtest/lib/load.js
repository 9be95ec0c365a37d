// What all runs share: arrival rates, and what fails a run.

import { sleep } from 'k6';
import { whole } from './settings.js';

const vus = whole('VUS', 100);

// arrivals starts rate iterations a second, whether or not those before have ended: customers don't wait for each other.
export function arrivals(exec, rate, seconds, more = {}) {
  return {
    executor: 'constant-arrival-rate', exec, rate, timeUnit: '1s', duration: `${seconds}s`, gracefulStop: '70s',
    preAllocatedVUs: vus, maxVUs: vus * 6, ...more,
  };
}

// crowd is size customers who all come within the same second, each once: see arrive.
export function crowd(exec, size) {
  return { executor: 'per-vu-iterations', exec, vus: size, iterations: 1, maxDuration: '70s' };
}

// arrive has a customer of a crowd come at a moment of that second.
export function arrive() {
  sleep(Math.random());
}

// glances is a slow stream of something else beside the load.
export function glances(exec, rate, seconds, more = {}) {
  return arrivals(exec, rate, seconds, { preAllocatedVUs: 5, maxVUs: 50, ...more });
}

// came holds the generator to its rates: what it didn't start because it had no turn, k6 doesn't count as dropped.
function came(scenarios) {
  return Object.fromEntries(Object.entries(scenarios).filter(([, s]) => s.rate || s.iterations)
    .map(([name, s]) => [`iterations{scenario:${name}}`, [`count>=${least(s)}`]]));
}

function least(scenario) {
  return scenario.rate ? Math.floor(scenario.rate * parseInt(scenario.duration, 10) * 0.98) : scenario.vus * scenario.iterations;
}

// load makes the options of a run. A threshold that is null is left out.
export function load(scenarios, thresholds) {
  const all = {
    http_req_failed: ['rate==0'], // by status: see expecting in api.js
    checks: ['rate==1'],
    dropped_iterations: ['count==0'], // else the generator was too slow, and the run says nothing
    acknowledged: ['count>0'],
    undecided: ['count==0'],
    unaccounted: ['count==0'],
    unaccounted_given_back: ['count==0'],
    ...came(scenarios),
    ...thresholds,
  };
  return {
    scenarios,
    thresholds: Object.fromEntries(Object.entries(all).filter(([, conditions]) => conditions !== null)),
    summaryTrendStats: ['avg', 'p(50)', 'p(95)', 'p(99)', 'p(99.9)', 'max'],
    systemTags: ['status', 'method', 'name', 'scenario', 'group', 'check', 'error_code'],
    setupTimeout: '10m',
    teardownTimeout: '10m',
  };
}
