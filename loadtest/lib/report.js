// What a run leaves behind: a summary on the screen, and a page that needs nothing but itself.

import { text, used } from './settings.js';

// report makes a script's handleSummary. What is written goes to REPORT, by default load-NAME.html in the folder that k6 runs in.
export function report(name, about) {
  const file = text('REPORT', `load-${name}.html`);
  return (data) => {
    const run = digest(data);
    return { stdout: onScreen(run, file), [file]: page(name, about, run) };
  };
}

// What the generator itself does, and the parts of a request's time, are left out.
const unshown = /^(vus|vus_max|data_.*|iteration_duration|http_req_(blocked|connecting|receiving|sending|tls_handshaking|waiting))$/;

// digest sorts k6's metrics into what is shown.
function digest(data) {
  const metrics = Object.entries(data.metrics).filter(([name]) => !unshown.test(name)).sort(([a], [b]) => (inOrder(a) < inOrder(b) ? -1 : 1));
  const thresholds = metrics.flatMap(([metric, m]) => Object.entries(m.thresholds || {})
    .map(([condition, { ok }]) => ({ metric, condition, ok, values: m.values, type: m.type, contains: m.contains })));
  const trends = metrics.filter(([, m]) => m.type === 'trend' && m.contains === 'time' && m.values.max > 0)
    .map(([metric, m]) => ({ metric, values: m.values }));
  const counts = metrics.filter(([, m]) => m.type !== 'trend').map(([metric, m]) => ({ metric, value: shown(m) }));
  return { thresholds, trends, counts, checks: checksOf(data.root_group), seconds: data.state.testRunDurationMs / 1000 };
}

// inOrder lets step_200 come before step_1000.
function inOrder(name) {
  return name.replace(/\d+/g, (digits) => digits.padStart(9, '0'));
}

function checksOf(group) {
  return group.checks.concat(...group.groups.map(checksOf));
}

// shown writes the value of a metric that is no trend.
function shown(m) {
  switch (m.type) {
    case 'counter': return `${round(m.values.count)} (${round(m.values.rate)}/s)`;
    case 'rate': return `${round(m.values.rate * 100)} %, ${m.values.passes} of ${m.values.passes + m.values.fails}`;
    default: return `${round(m.values.value)} (${round(m.values.min)} to ${round(m.values.max)})`;
  }
}

function round(v) {
  return Math.abs(v) >= 100 || Number.isInteger(v) ? Math.round(v) : Number(v.toPrecision(3));
}

const stats = ['avg', 'p(50)', 'p(95)', 'p(99)', 'p(99.9)', 'max'];

// actual gives what a threshold's condition was held against, such as the p(99) of "p(99)<20".
function actual(t) {
  const stat = t.condition.split(/[<>=!]/)[0].trim();
  const value = t.values[stat];
  return value === undefined ? '' : `${round(value)}${t.contains === 'time' ? ' ms' : ''}`;
}

function onScreen(run, file) {
  const lines = [''];
  const mark = (ok) => (ok ? '✓' : '✗');
  run.thresholds.forEach((t) => lines.push(`${mark(t.ok)} ${pad(t.metric, 36)} ${pad(t.condition, 14)} ${actual(t)}`));
  lines.push('');
  run.checks.forEach((c) => lines.push(`${mark(c.fails === 0)} ${c.name}${c.fails ? `: ${c.fails} of ${c.passes + c.fails} times not` : ''}`));
  lines.push('');
  run.trends.forEach((t) => lines.push(`${pad(t.metric, 36)} ${stats.map((s) => `${s}=${round(t.values[s])}ms`).join(' ')}`));
  lines.push('');
  run.counts.forEach((c) => lines.push(`${pad(c.metric, 36)} ${c.value}`));
  return `${lines.join('\n')}\n\nreport: ${file}\n`;
}

function pad(s, width) {
  return s.padEnd(width, '.');
}

function page(name, about, run) {
  const failed = run.thresholds.filter((t) => !t.ok).length;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Load: ${escape(name)}</title><style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1c2530; }
h1 small { font-weight: normal; color: #667; } h2 { margin-top: 2.2rem; font-size: 1.1rem; }
table { border-collapse: collapse; } td, th { padding: .15rem .9rem .15rem 0; text-align: left; border-bottom: 1px solid #e3e6ea; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.ok { color: #1a7f37; } .no { color: #c62828; font-weight: bold; }
svg text { font: 12px system-ui, sans-serif; fill: #445; }
</style></head><body>
<h1>${escape(name)} <small>${round(run.seconds)} s</small></h1>
<p>${escape(about)}</p>
<p class="${failed ? 'no' : 'ok'}">${failed ? `${failed} of ${run.thresholds.length} thresholds crossed` : 'All thresholds held'}</p>
<h2>Thresholds</h2>
${table(['', 'metric', 'must be', 'was'], run.thresholds.map((t) => [verdict(t.ok), escape(t.metric), escape(t.condition), actual(t)]))}
<h2>Checks</h2>
${table(['', 'what', 'held', 'did not'], run.checks.map((c) => [verdict(c.fails === 0), escape(c.name), c.passes, c.fails]))}
<h2>Times, in ms</h2>
${table(['metric', ...stats], run.trends.map((t) => [escape(t.metric), ...stats.map((s) => round(t.values[s]))]))}
${bars(run.trends)}
<h2>Counts</h2>
${table(['metric', 'value'], run.counts.map((c) => [escape(c.metric), escape(c.value)]))}
<h2>Settings</h2>
${table(['name', 'value'], Object.entries(used).map(([k, v]) => [escape(k), escape(String(v))]))}
</body></html>
`;
}

function verdict(ok) {
  return `<span class="${ok ? 'ok' : 'no'}">${ok ? '✓' : '✗'}</span>`;
}

function table(head, rows) {
  const cells = (tag, row) => row.map((c) => `<${tag}${typeof c === 'number' ? ' class="n"' : ''}>${c}</${tag}>`).join('');
  return `<table><tr>${cells('th', head)}</tr>${rows.map((r) => `<tr>${cells('td', r)}</tr>`).join('\n')}</table>`;
}

// bars draws the spread of each trend, from its median to its maximum, on one logarithmic scale.
function bars(trends) {
  const most = Math.max(10, ...trends.map((t) => t.values.max));
  const x = (ms) => 350 + (540 * Math.log(Math.max(ms, 0.1) / 0.1)) / Math.log(most / 0.1);
  const rows = trends.map((t, i) => {
    const y = 26 * i + 30;
    const bar = (from, to, colour) => `<rect x="${x(from).toFixed(1)}" y="${y - 10}" width="${Math.max(1, x(to) - x(from)).toFixed(1)}" height="13" fill="${colour}"/>`;
    const v = t.values;
    return `<text x="0" y="${y}">${escape(t.metric)}</text>${bar(0.1, v['p(50)'], '#9dc3e6')}${bar(v['p(50)'], v['p(99)'], '#4a90c2')}${bar(v['p(99)'], v.max, '#d7dde3')}`;
  });
  const ticks = [0.1, 1, 10, 100, 1000, 10000, 100000].filter((ms) => ms <= most)
    .map((ms) => `<text x="${x(ms)}" y="12">${ms}</text>`);
  return `<p>From the left to the median, on to the 99th percentile, and on to the maximum:</p>
<svg viewBox="0 0 900 ${26 * trends.length + 40}" width="100%">${ticks.join('')}${rows.join('\n')}</svg>`;
}

function escape(s) {
  return s.replace(/[&<>"]/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }[c]));
}
