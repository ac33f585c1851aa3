-- Writes the results of wrk as one JSON object to the file named by LAB_WRK_JSON.
-- Only `done` is defined, so this script adds no work to a request. The latencies are the values after wrk's correction.
-- `percentile(100)` is always 0, so `max` is used.

local function number(x)
  if x ~= x or x < 0 or x > 1e18 then return "null" end
  return string.format("%.3f", x)
end

function done(summary, latency, requests)
  local file = assert(io.open(assert(os.getenv("LAB_WRK_JSON")), "w"))
  local e = summary.errors
  file:write(string.format('{"duration_us":%d,"requests":%d,"bytes":%d,',
    summary.duration, summary.requests, summary.bytes))
  file:write(string.format('"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d},',
    e.connect, e.read, e.write, e.status, e.timeout))
  file:write(string.format('"latency_us":{"min":%s,"mean":%s,"stdev":%s,"max":%s',
    number(latency.min), number(latency.mean), number(latency.stdev), number(latency.max)))
  for _, p in ipairs({50, 75, 90, 95, 99, 99.9}) do
    local value = summary.requests > 0 and number(latency:percentile(p)) or "null"
    file:write(string.format(',"p%g":%s', p, value))
  end
  file:write("}}\n")
  file:close()
end
