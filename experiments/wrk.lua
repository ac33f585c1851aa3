-- Writes the results of wrk as one JSON object to the file named by LAB_WRK_JSON.
-- Only `setup` and `done` are defined, so this script adds no work to a request. The latencies are the values after wrk's correction.
-- `percentile(100)` is always 0, so `max` is used.

local function number(x)
  if x ~= x or x < 0 or x > 1e18 then return "null" end
  return string.format("%.3f", x)
end

-- wrk starts its clock when all threads run. With many threads the first ones have sent requests for a second by then,
-- and these requests are counted. So the duration is counted from the start of the first thread.
local begun, ffi

local function now_us()
  if not ffi then
    ffi = require("ffi")
    ffi.cdef("typedef struct { long s; long ns; } lab_time; int clock_gettime(int, lab_time *);")
  end
  local t = ffi.new("lab_time")
  ffi.C.clock_gettime(1, t)
  return tonumber(t.s) * 1e6 + tonumber(t.ns) / 1e3
end

function setup(thread)
  begun = begun or now_us()
end

function done(summary, latency, requests)
  local file = assert(io.open(assert(os.getenv("LAB_WRK_JSON")), "w"))
  local e = summary.errors
  file:write(string.format('{"duration_us":%d,"requests":%d,"bytes":%d,',
    math.max(summary.duration, now_us() - begun), summary.requests, summary.bytes))
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
