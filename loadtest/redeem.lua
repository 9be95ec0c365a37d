-- wrk: redeems with a fresh key and a fresh user each time. RUN tells runs apart, OFFER names the offer.
local threads = 0
function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end
function init()
  count = 0
  run = os.getenv("RUN") or tostring(os.time())
  path = "/v1/offers/" .. (os.getenv("OFFER") or "hot") .. "/redemptions"
end
function request()
  count = count + 1
  local key = run .. "-" .. number .. "-" .. count
  return wrk.format("POST", path, { ["Content-Type"] = "application/json", ["Idempotency-Key"] = key },
    '{"user_id":"' .. key .. '"}')
end
-- A last line for programs: what was measured, as JSON. Latencies are in microseconds.
function done(summary, latency)
  local lost = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format('{"requests":%d,"microseconds":%d,"not_successful":%d,"lost":%d,"p50":%d,"p99":%d,"p999":%d}\n',
    summary.requests, summary.duration, summary.errors.status, lost,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
