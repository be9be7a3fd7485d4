-- Sends another seed with each request. Path, body (with %d for the seed) and Accept come from the command line.
local seed, path, body, headers = 0, nil, nil, nil
function init(args)
  path, body = args[1], args[2]
  headers = {["Content-Type"] = "application/json", ["Accept"] = args[3]}
end
function request()
  seed = seed + 1
  return wrk.format("POST", path, headers, string.format(body, seed))
end
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('{"requests":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f,"failed":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
