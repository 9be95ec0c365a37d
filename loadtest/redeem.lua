-- wrk: redeems with a fresh key and a fresh user each time. RUN tells runs apart, OFFER names the offer.
local threads = 0
function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end
-- The request is put together here: wrk.format would go through a table of headers each time, and the generator shares the machine
-- with what it measures.
function init()
  count = 0
  prefix = (os.getenv("RUN") or tostring(os.time())) .. "-" .. number .. "-"
  head = "POST /v1/offers/" .. (os.getenv("OFFER") or "hot") .. "/redemptions HTTP/1.1\r\nHost: " .. wrk.headers["Host"] ..
    "\r\nContent-Type: application/json\r\nIdempotency-Key: "
end
function request()
  count = count + 1
  local key = prefix .. count
  local body = '{"user_id":"' .. key .. '"}'
  return head .. key .. "\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
end
-- A last line for programs: what was measured, as JSON. Latencies are in microseconds.
function done(summary, latency)
  local lost = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format('{"requests":%d,"microseconds":%d,"not_successful":%d,"lost":%d,"p50":%d,"p99":%d,"p999":%d}\n',
    summary.requests, summary.duration, summary.errors.status, lost,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
