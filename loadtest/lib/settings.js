// What a run is told by its environment. Whatever a script asks for here is shown in its report.

export const used = {};

export const targets = text('TARGETS', 'http://127.0.0.1:8080').split(',');
export const adminKey = __ENV.ADMIN_KEY;
export const checkoutKey = __ENV.CHECKOUT_KEY;

export function text(name, fallback) {
  used[name] = __ENV[name] || fallback;
  return used[name];
}

// whole reads a number from least on.
export function whole(name, fallback, least = 1) {
  const value = Number(text(name, fallback));
  if (!Number.isSafeInteger(value) || value < least) {
    throw new Error(`${name} must be a whole number from ${least} on, not ${__ENV[name]}`);
  }
  return value;
}

// part reads a number from 0 to 1.
export function part(name, fallback) {
  const value = Number(text(name, fallback));
  if (!(value >= 0 && value <= 1)) {
    throw new Error(`${name} must be a number from 0 to 1, not ${__ENV[name]}`);
  }
  return value;
}

// seconds reads a duration that is written like 1m30s.
export function seconds(name, fallback) {
  const written = text(name, fallback);
  const parts = written.match(/^(\d+h)?(\d+m)?(\d+s)?$/);
  if (!parts || !written) {
    throw new Error(`${name} is written like 1m30s, not ${written}`);
  }
  const units = { h: 3600, m: 60, s: 1 };
  return parts.slice(1).filter(Boolean).reduce((sum, p) => sum + parseInt(p, 10) * units[p.slice(-1)], 0);
}
