-- One seed a request, each another one; the path and the model come from the command line.
local seed, path, body = 0, nil, nil
function init(args)
  path, body = args[1], args[2]
end
function request()
  seed = seed + 1
  return wrk.format("POST", path, {["Content-Type"] = "application/json", ["Accept"] = "application/json"}, string.format(body, seed))
end
function done(summary, latency, requests)
  io.write(string.format('{"requests":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f,"failed":%d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
